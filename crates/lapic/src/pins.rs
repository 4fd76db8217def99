//! The LINT0 and LINT1 pins (SDM 3A 11.5.1): NMI, SMI, INIT, fixed interrupts, and the 8259 as ExtINT.
//!
//! Callers say whether a pin is asserted, so the polarity bit of the LVT entry is kept but decides nothing.

use crate::apic::LocalApic;
use crate::apic_base::Mode;
use crate::lvt::LvtEntry;
use crate::message::{Delivered, DeliveryMode, Trigger};

/// A local interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lint {
    /// By convention the INTR output of the 8259 pair.
    Lint0,
    /// By convention the platform's NMI.
    Lint1,
}

impl LocalApic {
    /// Sets whether a pin is asserted. Returns what reaches the processor because of it. ExtINT is not returned but
    /// polled, as it lasts no longer than the pin is asserted: see [`ext_int_pending`](Self::ext_int_pending).
    pub fn set_lint(&mut self, pin: Lint, asserted: bool) -> Option<Delivered> {
        let rising = asserted && !self.pins[pin as usize];
        self.pins[pin as usize] = asserted;
        if self.mode() == Mode::Disabled {
            return (rising && pin == Lint::Lint1).then_some(Delivered::Nmi);
        }
        let lvt = self.lvt[match pin {
            Lint::Lint0 => LvtEntry::Lint0,
            Lint::Lint1 => LvtEntry::Lint1,
        } as usize];
        // 11.5.1, trigger mode: only fixed interrupts can be level-sensitive, and LINT1 never.
        if lvt.delivery_mode() == DeliveryMode::Fixed && lvt.level_triggered() && pin == Lint::Lint0 {
            return self.sample_lint0_level().then_some(Delivered::Fixed(lvt.vector()));
        }
        if !rising || lvt.masked() {
            return None;
        }
        match lvt.delivery_mode() {
            DeliveryMode::Fixed => self.accept_fixed(lvt.vector(), Trigger::Edge).then_some(Delivered::Fixed(lvt.vector())),
            DeliveryMode::Smi => Some(Delivered::Smi),
            DeliveryMode::Nmi => Some(Delivered::Nmi),
            DeliveryMode::Init => Some(Delivered::Init),
            DeliveryMode::LowestPriority | DeliveryMode::Startup | DeliveryMode::ExtInt | DeliveryMode::Reserved => None,
        }
    }

    /// Whether the 8259 on LINT0 can interrupt: the APIC is globally disabled, which makes LINT0 the INTR pin, or
    /// LINT0 is unmasked ExtINT. TPR and PPR do not matter to it (11.8.3).
    pub fn lint0_ext_int_enabled(&self) -> bool {
        let lvt = self.lvt[LvtEntry::Lint0 as usize];
        self.mode() == Mode::Disabled || !lvt.masked() && lvt.delivery_mode() == DeliveryMode::ExtInt
    }

    /// Whether the 8259 asks for an interrupt and can have it: the processor is to run an acknowledge cycle.
    pub fn ext_int_pending(&self) -> bool {
        self.pins[Lint::Lint0 as usize] && self.lint0_ext_int_enabled()
    }

    /// Accepts the interrupt of a level-sensitive LINT0 that is asserted and not yet in service. Returns whether it did.
    pub(crate) fn sample_lint0_level(&mut self) -> bool {
        let lvt = self.lvt[LvtEntry::Lint0 as usize];
        let due = self.pins[Lint::Lint0 as usize]
            && lvt.level_triggered()
            && lvt.delivery_mode() == DeliveryMode::Fixed
            && !lvt.masked()
            && !lvt.remote_irr();
        if !due || !self.accept_fixed(lvt.vector(), Trigger::Level) {
            return false;
        }
        self.lvt[LvtEntry::Lint0 as usize] = lvt.with_remote_irr(true);
        true
    }

    /// The level interrupt `vector` was completed: LINT0 may ask again if it was the source.
    pub(crate) fn end_lint0_service(&mut self, vector: u8) {
        let lvt = self.lvt[LvtEntry::Lint0 as usize];
        if lvt.remote_irr() && lvt.vector() == vector {
            self.lvt[LvtEntry::Lint0 as usize] = lvt.with_remote_irr(false);
            self.sample_lint0_level();
        }
    }
}
