//! Interrupt messages as values: what is delivered, to whom, and how a message-signalled interrupt encodes it
//! (SDM 3A 11.11).

/// How a fixed interrupt is signalled; level-triggered ones are answered with an EOI broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Edge,
    Level,
}

/// What a message asks of the APICs it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vector, to every APIC addressed.
    Fixed(u8),
    /// The vector, to the one APIC of those addressed that [`lowest_priority`](crate::lowest_priority) elects.
    LowestPriority(u8),
    Smi,
    Nmi,
    Init,
    /// Start-up IPI: execution begins at physical address `vector << 12`.
    Startup(u8),
    /// An 8259 supplies the vector.
    ExtInt,
}

/// What reached a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The vector is in the IRR.
    Fixed(u8),
    Nmi,
    Smi,
    /// The caller resets the core and calls [`LocalApic::init`](crate::LocalApic::init).
    Init,
    /// For a core that waits for it, execution at physical address `vector << 12`; others ignore it.
    Startup(u8),
    /// The caller takes the vector from the 8259.
    ExtInt,
}

/// How [`Destination::id`] is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationMode {
    /// An APIC ID.
    Physical,
    /// Compared with the logical IDs of the receivers.
    Logical,
}

/// The size of the destination field in which the message was written; it decides which value is the broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationWidth {
    /// xAPIC IPIs, I/O APIC entries and MSIs: 8 bits, broadcast 0xFF.
    Bits8,
    /// x2APIC IPIs: 32 bits, broadcast 0xFFFF_FFFF.
    Bits32,
}

/// To whom a message is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// At most 0xFF where the width is 8 bits.
    pub id: u32,
    pub mode: DestinationMode,
    pub width: DestinationWidth,
}

impl Destination {
    /// Whether every APIC is addressed.
    pub fn is_broadcast(&self) -> bool {
        match self.width {
            DestinationWidth::Bits8 => self.id == 0xFF,
            DestinationWidth::Bits32 => self.id == u32::MAX,
        }
    }
}

/// An interrupt from a device, by way of an I/O APIC or as an MSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub destination: Destination,
    pub delivery: Delivery,
    pub trigger: Trigger,
}

impl Message {
    /// Decodes a write of `data` to guest-physical `address` as a message-signalled interrupt (11.11.1, 11.11.2). None when
    /// the address is outside 0xFEE0_0000 to 0xFEEF_FFFF, and for writes that signal nothing: the de-assertion of a
    /// level, and the delivery modes that the manual reserves.
    pub fn from_msi(address: u64, data: u32) -> Option<Self> {
        if address >> 20 != 0xFEE || data & 1 << 15 != 0 && data & 1 << 14 == 0 {
            return None;
        }
        let mode = if address & 1 << 2 != 0 { DestinationMode::Logical } else { DestinationMode::Physical };
        let redirectable = address & 1 << 3 != 0 && mode == DestinationMode::Logical;
        let vector = data as u8;
        let delivery = match DeliveryMode::from_bits(data >> 8) {
            DeliveryMode::Fixed if redirectable => Delivery::LowestPriority(vector),
            DeliveryMode::Fixed => Delivery::Fixed(vector),
            DeliveryMode::LowestPriority => Delivery::LowestPriority(vector),
            DeliveryMode::Smi => Delivery::Smi,
            DeliveryMode::Nmi => Delivery::Nmi,
            DeliveryMode::Init => Delivery::Init,
            DeliveryMode::ExtInt => Delivery::ExtInt,
            DeliveryMode::Startup | DeliveryMode::Reserved => return None,
        };
        Some(Self {
            destination: Destination { id: (address >> 12) as u32 & 0xFF, mode, width: DestinationWidth::Bits8 },
            delivery,
            trigger: if data & 1 << 15 != 0 { Trigger::Level } else { Trigger::Edge },
        })
    }
}

/// The delivery mode field, as the ICR, the LVT and MSI data have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    Fixed,
    LowestPriority,
    Smi,
    /// Remote read, on processors long gone.
    Reserved,
    Nmi,
    Init,
    Startup,
    ExtInt,
}

impl DeliveryMode {
    /// From the field in the low three bits; higher ones are ignored.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits & 0b111 {
            0b000 => Self::Fixed,
            0b001 => Self::LowestPriority,
            0b010 => Self::Smi,
            0b011 => Self::Reserved,
            0b100 => Self::Nmi,
            0b101 => Self::Init,
            0b110 => Self::Startup,
            _ => Self::ExtInt,
        }
    }
}
