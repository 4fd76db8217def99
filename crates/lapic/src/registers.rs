//! The register map (SDM 3A table 11-1 and table 11-6) and the layouts of the registers that several files read.
//!
//! One index serves both faces of the APIC: register `n` is at offset `n * 16` of the xAPIC page and is x2APIC
//! MSR `0x800 + n`. Which registers a face has, and which bits it lets software write, is said in
//! `xapic.rs` and `x2apic.rs`; what a register holds and does is said here, once.

use crate::Now;
use crate::apic::LocalApic;
use crate::apic_base::Mode;
use crate::ipi::Outgoing;
use crate::lvt::LvtEntry;

/// Version register (11.4.8): an integrated APIC, seven LVT entries, EOI-broadcast suppression supported.
const VERSION: u32 = 0x14 | 6 << 16 | 1 << 24;

/// The bits of the SVR that software may write (11.9): vector, enable, focus, EOI-broadcast suppression.
pub(crate) const SVR_WRITABLE: u32 = 0x13FF;
/// The bits of the divide configuration register that software may write (11.5.4).
pub(crate) const DIVIDE_WRITABLE: u32 = 0xB;
/// The model field of the DFR (11.6.2.2); all other bits read as one.
pub(crate) const DFR_WRITABLE: u32 = 0xF000_0000;
/// The logical APIC ID of the xAPIC's LDR (11.6.2.2).
pub(crate) const LDR_WRITABLE: u32 = 0xFF00_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    Id,
    Version,
    TaskPriority,
    ArbitrationPriority,
    ProcessorPriority,
    Eoi,
    RemoteRead,
    LogicalDestination,
    DestinationFormat,
    SpuriousVector,
    InService(usize),
    TriggerMode(usize),
    InterruptRequest(usize),
    ErrorStatus,
    Lvt(LvtEntry),
    /// The low half of the ICR; in x2APIC mode the register as a whole.
    InterruptCommand,
    InterruptCommandHigh,
    InitialCount,
    CurrentCount,
    DivideConfiguration,
    /// x2APIC mode only.
    SelfIpi,
}

impl Register {
    /// The register at `index`; none where the map is reserved.
    pub(crate) fn from_index(index: u32) -> Option<Self> {
        Some(match index {
            0x02 => Self::Id,
            0x03 => Self::Version,
            0x08 => Self::TaskPriority,
            0x09 => Self::ArbitrationPriority,
            0x0A => Self::ProcessorPriority,
            0x0B => Self::Eoi,
            0x0C => Self::RemoteRead,
            0x0D => Self::LogicalDestination,
            0x0E => Self::DestinationFormat,
            0x0F => Self::SpuriousVector,
            0x10..=0x17 => Self::InService(index as usize - 0x10),
            0x18..=0x1F => Self::TriggerMode(index as usize - 0x18),
            0x20..=0x27 => Self::InterruptRequest(index as usize - 0x20),
            0x28 => Self::ErrorStatus,
            0x2F => Self::Lvt(LvtEntry::Cmci),
            0x30 => Self::InterruptCommand,
            0x31 => Self::InterruptCommandHigh,
            0x32 => Self::Lvt(LvtEntry::Timer),
            0x33 => Self::Lvt(LvtEntry::Thermal),
            0x34 => Self::Lvt(LvtEntry::Performance),
            0x35 => Self::Lvt(LvtEntry::Lint0),
            0x36 => Self::Lvt(LvtEntry::Lint1),
            0x37 => Self::Lvt(LvtEntry::Error),
            0x38 => Self::InitialCount,
            0x39 => Self::CurrentCount,
            0x3E => Self::DivideConfiguration,
            0x3F => Self::SelfIpi,
            _ => return None,
        })
    }
}

/// The spurious-interrupt vector register (11.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpuriousVector(pub(crate) u32);

impl SpuriousVector {
    /// Software-disabled, vector 0xFF (11.4.7.1).
    pub(crate) const RESET: Self = Self(0xFF);
    pub(crate) const ENABLE: u32 = 1 << 8;

    pub(crate) fn vector(self) -> u8 {
        self.0 as u8
    }

    pub(crate) fn software_enabled(self) -> bool {
        self.0 & Self::ENABLE != 0
    }

    pub(crate) fn focus_checking(self) -> bool {
        self.0 & 1 << 9 == 0
    }

    pub(crate) fn suppresses_eoi_broadcast(self) -> bool {
        self.0 & 1 << 12 != 0
    }
}

impl LocalApic {
    /// The value of a register. Write-only registers read as zero; the ICR gives its low half.
    pub(crate) fn read_register(&self, register: Register, now: Now) -> u32 {
        match register {
            Register::Id => match self.mode() {
                Mode::X2Apic => self.config.apic_id,
                Mode::XApic | Mode::Disabled => self.config.apic_id << 24,
            },
            Register::Version => VERSION,
            Register::TaskPriority => self.tpr.into(),
            Register::ArbitrationPriority => self.arbitration_priority().into(),
            Register::ProcessorPriority => self.processor_priority().into(),
            Register::LogicalDestination => match self.mode() {
                Mode::X2Apic => self.x2apic_logical_id(),
                Mode::XApic | Mode::Disabled => self.ldr,
            },
            Register::DestinationFormat => self.dfr,
            Register::SpuriousVector => self.svr.0,
            Register::InService(word) => self.isr.word(word),
            Register::TriggerMode(word) => self.tmr.word(word),
            Register::InterruptRequest(word) => self.irr.word(word),
            Register::ErrorStatus => self.errors.visible,
            Register::Lvt(entry) => self.lvt[entry as usize].0,
            Register::InterruptCommand => self.icr.low(),
            Register::InterruptCommandHigh => self.icr.high(),
            Register::InitialCount => self.timer.initial_count,
            Register::CurrentCount => self.timer.current_count(now.ns),
            Register::DivideConfiguration => self.timer.divide.0,
            Register::Eoi | Register::RemoteRead | Register::SelfIpi => 0,
        }
    }

    /// Writes a register with a value whose unwritable bits are already zero. Read-only registers stay as they are.
    pub(crate) fn write_register(&mut self, register: Register, value: u32, now: Now) {
        match register {
            Register::TaskPriority => self.tpr = value as u8,
            Register::Eoi => {
                let broadcast = self.eoi();
                self.outgoing.extend(broadcast.map(Outgoing::Eoi));
            }
            Register::LogicalDestination => self.ldr = value,
            Register::DestinationFormat => self.dfr = value | !DFR_WRITABLE,
            Register::SpuriousVector => self.write_spurious_vector(SpuriousVector(value)),
            Register::ErrorStatus => self.errors.latch(),
            Register::Lvt(entry) => self.write_lvt(entry, value),
            Register::InterruptCommand => {
                self.icr.set_low(value);
                self.send_ipi();
            }
            Register::InterruptCommandHigh => self.icr.set_high(value),
            Register::InitialCount => self.timer.write_initial_count(self.timer_mode(), value, now.ns),
            Register::DivideConfiguration => self.timer.write_divide(value, now.ns),
            Register::SelfIpi => self.send_to_self(value as u8),
            Register::Id
            | Register::Version
            | Register::ArbitrationPriority
            | Register::ProcessorPriority
            | Register::RemoteRead
            | Register::InService(_)
            | Register::TriggerMode(_)
            | Register::InterruptRequest(_)
            | Register::CurrentCount => {}
        }
    }
}
