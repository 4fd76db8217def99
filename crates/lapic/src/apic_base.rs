//! IA32_APIC_BASE (SDM 3A 11.4.4) and the three states of the APIC with the moves allowed between them (11.12.5).

use crate::apic::{GeneralProtection, LocalApic};

/// Where the xAPIC page lies after reset.
pub const DEFAULT_MMIO_BASE: u64 = 0xFEE0_0000;

const PAGE_OFFSET: u64 = 0xFFF;

/// How software reaches the APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Globally disabled: no registers, no messages; LINT0 is INTR and LINT1 is NMI.
    Disabled,
    /// Registers in a page of memory.
    XApic,
    /// Registers as MSRs.
    X2Apic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApicBase(pub(crate) u64);

impl ApicBase {
    const BOOTSTRAP: u64 = 1 << 8;
    const X2APIC: u64 = 1 << 10;
    const ENABLE: u64 = 1 << 11;

    pub(crate) fn reset(bootstrap: bool) -> Self {
        Self(DEFAULT_MMIO_BASE | Self::ENABLE | if bootstrap { Self::BOOTSTRAP } else { 0 })
    }

    /// The mode that the enable bits select; none for the invalid state (x2APIC without enable).
    pub(crate) fn mode(self) -> Option<Mode> {
        match (self.0 & Self::ENABLE != 0, self.0 & Self::X2APIC != 0) {
            (false, false) => Some(Mode::Disabled),
            (true, false) => Some(Mode::XApic),
            (true, true) => Some(Mode::X2Apic),
            (false, true) => None,
        }
    }

    /// Whether no reserved bit is set, on a processor with addresses of `physical_address_bits`.
    pub(crate) fn is_legal(self, physical_address_bits: u8) -> bool {
        let address = ((1 << physical_address_bits) - 1) & !PAGE_OFFSET;
        self.0 & !(address | Self::BOOTSTRAP | Self::X2APIC | Self::ENABLE) == 0 && self.mode().is_some()
    }
}

impl LocalApic {
    /// How software reaches the APIC now.
    pub fn mode(&self) -> Mode {
        self.base.mode().expect("writes and loads refuse the invalid state")
    }

    /// The guest-physical address of the 4 KiB register page; none unless in xAPIC mode, when accesses there reach
    /// whatever else is mapped.
    pub fn mmio_base(&self) -> Option<u64> {
        (self.mode() == Mode::XApic).then_some(self.base.0 & !PAGE_OFFSET)
    }

    /// Whether IA32_APIC_BASE marks this as the bootstrap processor.
    pub fn is_bootstrap(&self) -> bool {
        self.base.0 & ApicBase::BOOTSTRAP != 0
    }

    pub(crate) fn write_apic_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let base = ApicBase(value);
        if !base.is_legal(self.config.physical_address_bits) {
            return Err(GeneralProtection);
        }
        match (self.mode(), base.mode().ok_or(GeneralProtection)?) {
            (Mode::Disabled, Mode::X2Apic) | (Mode::X2Apic, Mode::XApic) => return Err(GeneralProtection),
            // 11.12.5.1: the high half of the ICR is not kept. Nor is the LDR, which x2APIC mode derives and never gives back.
            (Mode::XApic, Mode::X2Apic) => self.icr.set_high(0),
            // 11.4.3: a disabled APIC forgets its state; doing so at once makes enabling it uniform.
            (Mode::XApic | Mode::X2Apic, Mode::Disabled) => self.init(),
            (Mode::Disabled, Mode::Disabled | Mode::XApic) | (Mode::XApic, Mode::XApic) | (Mode::X2Apic, Mode::X2Apic) => {}
        }
        self.base = base;
        Ok(())
    }
}
