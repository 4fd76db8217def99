//! The local vector table (SDM 3A 11.5.1): the entries, what software may write in them, and the interrupts of the
//! sources inside the processor. The LINT pins are in `pins.rs`, the timer is in `timer.rs`.

use crate::apic::LocalApic;
use crate::message::{Delivered, DeliveryMode, Trigger};
use crate::timer::TimerMode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LvtEntry {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
    Cmci,
}

impl LvtEntry {
    pub(crate) const COUNT: usize = 7;
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Timer, Self::Thermal, Self::Performance, Self::Lint0, Self::Lint1, Self::Error, Self::Cmci];

    /// The bits that software may set (figure 11-8).
    pub(crate) fn writable_bits(self) -> u32 {
        const VECTOR: u32 = 0xFF;
        const DELIVERY_MODE: u32 = 0b111 << 8;
        const POLARITY: u32 = 1 << 13;
        const TIMER_MODE: u32 = 0b11 << 17;
        match self {
            Self::Timer => VECTOR | LvtValue::MASK | TIMER_MODE,
            Self::Thermal | Self::Performance | Self::Cmci => VECTOR | LvtValue::MASK | DELIVERY_MODE,
            Self::Lint0 | Self::Lint1 => VECTOR | LvtValue::MASK | DELIVERY_MODE | POLARITY | LvtValue::LEVEL,
            Self::Error => VECTOR | LvtValue::MASK,
        }
    }

    /// The bits that software may only read. The delivery status (bit 12) is one of them in every entry; delivery
    /// takes no time here, so it always reads as idle.
    pub(crate) fn read_only_bits(self) -> u32 {
        const DELIVERY_STATUS: u32 = 1 << 12;
        match self {
            Self::Lint0 | Self::Lint1 => DELIVERY_STATUS | LvtValue::REMOTE_IRR,
            Self::Timer | Self::Thermal | Self::Performance | Self::Error | Self::Cmci => DELIVERY_STATUS,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LvtValue(pub(crate) u32);

impl LvtValue {
    /// Masked, all else zero (11.4.7.1).
    pub(crate) const RESET: Self = Self(Self::MASK);
    const MASK: u32 = 1 << 16;
    const LEVEL: u32 = 1 << 15;
    pub(crate) const REMOTE_IRR: u32 = 1 << 14;

    pub(crate) fn vector(self) -> u8 {
        self.0 as u8
    }

    pub(crate) fn delivery_mode(self) -> DeliveryMode {
        DeliveryMode::from_bits(self.0 >> 8)
    }

    pub(crate) fn level_triggered(self) -> bool {
        self.0 & Self::LEVEL != 0
    }

    pub(crate) fn remote_irr(self) -> bool {
        self.0 & Self::REMOTE_IRR != 0
    }

    pub(crate) fn masked(self) -> bool {
        self.0 & Self::MASK != 0
    }

    pub(crate) fn timer_mode(self) -> TimerMode {
        TimerMode::from_bits(self.0 >> 17)
    }

    pub(crate) fn with_mask(self) -> Self {
        Self(self.0 | Self::MASK)
    }

    pub(crate) fn with_remote_irr(self, set: bool) -> Self {
        Self(if set { self.0 | Self::REMOTE_IRR } else { self.0 & !Self::REMOTE_IRR })
    }
}

/// A source of interrupts inside the processor that the caller models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalSource {
    /// Corrected machine-check error.
    Cmci,
    /// Thermal sensor.
    Thermal,
    /// Performance-monitoring counter overflow.
    Performance,
}

impl LocalApic {
    /// Raises a local interrupt as its LVT entry says. Returns what reaches the processor; none when the entry is masked
    /// or its delivery mode is not one of fixed, SMI and NMI.
    pub fn raise_local(&mut self, source: LocalSource) -> Option<Delivered> {
        let entry = match source {
            LocalSource::Cmci => LvtEntry::Cmci,
            LocalSource::Thermal => LvtEntry::Thermal,
            LocalSource::Performance => LvtEntry::Performance,
        };
        let lvt = self.lvt[entry as usize];
        if lvt.masked() {
            return None;
        }
        if source == LocalSource::Performance {
            // 11.5.1, mask flag: handling a performance-monitoring interrupt sets it.
            self.lvt[entry as usize] = lvt.with_mask();
        }
        match lvt.delivery_mode() {
            DeliveryMode::Fixed => self.accept_fixed(lvt.vector(), Trigger::Edge).then_some(Delivered::Fixed(lvt.vector())),
            DeliveryMode::Smi => Some(Delivered::Smi),
            DeliveryMode::Nmi => Some(Delivered::Nmi),
            DeliveryMode::LowestPriority | DeliveryMode::Init | DeliveryMode::Startup | DeliveryMode::ExtInt | DeliveryMode::Reserved => {
                None
            }
        }
    }

    /// Writes an entry with a value whose unwritable bits are already zero.
    pub(crate) fn write_lvt(&mut self, entry: LvtEntry, value: u32) {
        let old = self.lvt[entry as usize];
        let mut new = LvtValue(value);
        if !self.svr.software_enabled() {
            new = new.with_mask();
        }
        match entry {
            LvtEntry::Timer => self.timer.change_mode(old.timer_mode(), new.timer_mode()),
            LvtEntry::Lint0 => new = new.with_remote_irr(old.remote_irr() && new.level_triggered()),
            LvtEntry::Lint1 | LvtEntry::Thermal | LvtEntry::Performance | LvtEntry::Error | LvtEntry::Cmci => {}
        }
        self.lvt[entry as usize] = new;
        if entry == LvtEntry::Lint0 {
            self.sample_lint0_level();
        }
    }
}
