//! Receiving messages: which APICs a destination names (SDM 3A 11.6.2, x2APIC 11.12.10), the election among them for
//! lowest-priority delivery (11.6.2.4), and what the chosen ones make of the message (11.8.2).

use crate::apic::LocalApic;
use crate::apic_base::Mode;
use crate::message::{Delivered, Delivery, Destination, DestinationMode, DestinationWidth, Trigger};

impl LocalApic {
    /// Whether a message to `destination` reaches this APIC. A globally disabled APIC is reached by none.
    pub fn matches(&self, destination: &Destination) -> bool {
        let mode = self.mode();
        if mode == Mode::Disabled {
            return false;
        }
        if destination.is_broadcast() {
            return true;
        }
        match destination.mode {
            DestinationMode::Physical => match (mode, destination.width) {
                (Mode::XApic, DestinationWidth::Bits8) => destination.id == self.config.apic_id & 0xFF,
                // A processor that is still in xAPIC mode is started by others already in x2APIC mode: they know its full ID.
                (_, DestinationWidth::Bits8 | DestinationWidth::Bits32) => destination.id == self.config.apic_id,
            },
            DestinationMode::Logical => match mode {
                Mode::X2Apic => {
                    let own = self.x2apic_logical_id();
                    destination.id >> 16 == own >> 16 && destination.id & own & 0xFFFF != 0
                }
                Mode::XApic | Mode::Disabled => self.matches_xapic_logical(destination.id),
            },
        }
    }

    /// Takes a message that [`matches`](Self::matches) (or a shorthand) routed here. `trigger` matters to fixed interrupts
    /// only. Returns what reaches the processor; none when the APIC refuses: a disabled one takes nothing, one disabled by
    /// software takes SMI, NMI, INIT and start-up only (11.4.7.2), and vectors below 16 are errors.
    pub fn deliver(&mut self, delivery: Delivery, trigger: Trigger) -> Option<Delivered> {
        if self.mode() == Mode::Disabled {
            return None;
        }
        match delivery {
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) => {
                self.accept_fixed(vector, trigger).then_some(Delivered::Fixed(vector))
            }
            Delivery::Smi => Some(Delivered::Smi),
            Delivery::Nmi => Some(Delivered::Nmi),
            Delivery::Init => Some(Delivered::Init),
            Delivery::Startup(vector) => Some(Delivered::Startup(vector)),
            Delivery::ExtInt => self.accepts_interrupts().then_some(Delivered::ExtInt),
        }
    }

    /// The logical ID of x2APIC mode, which follows from the APIC ID (11.12.10.2).
    pub(crate) fn x2apic_logical_id(&self) -> u32 {
        let id = self.config.apic_id;
        (id >> 4) << 16 | 1 << (id & 0xF)
    }

    fn matches_xapic_logical(&self, id: u32) -> bool {
        let own = self.ldr >> 24;
        match self.dfr >> 28 {
            0b1111 => id <= 0xFF && id & own != 0,
            0b0000 => id >> 4 == own >> 4 && id & own & 0xF != 0,
            // 11.6.2.2 defines the flat and the cluster model only.
            _ => false,
        }
    }
}

/// Elects the one APIC that takes a lowest-priority interrupt, of those its destination names: the focus processor of
/// the vector, else the one with the lowest arbitration priority, and of equals the first. APICs disabled by software do not
/// take part. Returns the tag that came with the winner.
pub fn lowest_priority<'a, T>(addressed: impl IntoIterator<Item = (T, &'a LocalApic)>, vector: u8) -> Option<T> {
    addressed
        .into_iter()
        .filter(|(_, apic)| apic.accepts_interrupts())
        .min_by_key(|(_, apic)| (!apic.is_focus(vector), apic.arbitration_priority()))
        .map(|(tag, _)| tag)
}
