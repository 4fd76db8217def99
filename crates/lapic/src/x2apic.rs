//! The MSRs of the APIC: IA32_APIC_BASE, IA32_TSC_DEADLINE, and the x2APIC registers (SDM 3A 11.12.1.2 and 11.12.1.3,
//! table 11-6). Unlike the page, they fault: on registers that do not exist, on reserved bits, on writes to what is
//! read-only and reads of what is write-only.

use crate::Now;
use crate::apic::{GeneralProtection, LocalApic};
use crate::apic_base::Mode;
use crate::ipi::InterruptCommand;
use crate::registers::{DIVIDE_WRITABLE, Register, SVR_WRITABLE};

/// IA32_APIC_BASE.
pub const MSR_APIC_BASE: u32 = 0x1B;
/// IA32_TSC_DEADLINE.
pub const MSR_TSC_DEADLINE: u32 = 0x6E0;
/// The first MSR of the range that x2APIC reserves.
pub const MSR_X2APIC_FIRST: u32 = 0x800;
/// The last MSR of the range that x2APIC reserves; those above 0x83F do not exist.
pub const MSR_X2APIC_LAST: u32 = 0x8FF;

impl LocalApic {
    /// RDMSR of one of the APIC's MSRs.
    ///
    /// # Errors
    ///
    /// [`GeneralProtection`] when the MSR is not the APIC's, does not exist, cannot be read, or is an x2APIC register
    /// outside x2APIC mode.
    pub fn read_msr(&mut self, msr: u32, now: Now) -> Result<u64, GeneralProtection> {
        self.advance(now);
        match msr {
            MSR_APIC_BASE => Ok(self.base.0),
            MSR_TSC_DEADLINE => Ok(self.timer.tsc_deadline().unwrap_or(0)),
            _ => match self.x2apic_register(msr)? {
                Register::ArbitrationPriority
                | Register::Eoi
                | Register::RemoteRead
                | Register::DestinationFormat
                | Register::InterruptCommandHigh
                | Register::SelfIpi => Err(GeneralProtection),
                Register::InterruptCommand => Ok(self.icr.0),
                register => Ok(self.read_register(register, now).into()),
            },
        }
    }

    /// WRMSR of one of the APIC's MSRs. The caller drains [`next_outgoing`](Self::next_outgoing) afterwards, and after
    /// a write to IA32_APIC_BASE looks anew at [`mmio_base`](Self::mmio_base).
    ///
    /// # Errors
    ///
    /// [`GeneralProtection`] when the MSR is not the APIC's, does not exist, cannot be written, is an x2APIC register
    /// outside x2APIC mode, when a reserved bit is set, and when IA32_APIC_BASE asks for a move between
    /// modes that 11.12.5 forbids. Nothing has changed then but the time.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: Now) -> Result<(), GeneralProtection> {
        self.advance(now);
        match msr {
            MSR_APIC_BASE => self.write_apic_base(value),
            MSR_TSC_DEADLINE => {
                self.timer.write_deadline(self.timer_mode(), value);
                // A deadline already past interrupts at once.
                self.advance(now);
                Ok(())
            }
            _ => {
                let register = self.x2apic_register(msr)?;
                if value & !writable_bits(register).ok_or(GeneralProtection)? != 0 {
                    return Err(GeneralProtection);
                }
                self.write_x2apic_register(register, value, now);
                Ok(())
            }
        }
    }

    fn x2apic_register(&self, msr: u32) -> Result<Register, GeneralProtection> {
        if self.mode() != Mode::X2Apic {
            return Err(GeneralProtection);
        }
        msr.checked_sub(MSR_X2APIC_FIRST).and_then(Register::from_index).ok_or(GeneralProtection)
    }

    fn write_x2apic_register(&mut self, register: Register, value: u64, now: Now) {
        let low = value as u32;
        match register {
            Register::InterruptCommand => {
                self.icr.set_high((value >> 32) as u32);
                self.write_register(register, low & InterruptCommand::LOW_WRITABLE, now);
            }
            Register::Lvt(entry) => self.write_register(register, low & entry.writable_bits(), now),
            _ => self.write_register(register, low, now),
        }
    }
}

/// The bits that software may write without a fault; none for registers that are read-only or do not exist here. Bits that a
/// register has but that are read-only (delivery status, remote IRR) are not reserved: writing them has no effect.
fn writable_bits(register: Register) -> Option<u64> {
    match register {
        Register::TaskPriority | Register::SelfIpi => Some(0xFF),
        // 11.12.1.2: only zero may be written.
        Register::Eoi | Register::ErrorStatus => Some(0),
        Register::SpuriousVector => Some(SVR_WRITABLE.into()),
        Register::Lvt(entry) => Some((entry.writable_bits() | entry.read_only_bits()).into()),
        Register::InterruptCommand => {
            Some(u64::from(u32::MAX) << 32 | u64::from(InterruptCommand::LOW_WRITABLE | InterruptCommand::DELIVERY_STATUS))
        }
        Register::InitialCount => Some(u32::MAX.into()),
        Register::DivideConfiguration => Some(DIVIDE_WRITABLE.into()),
        Register::Id
        | Register::Version
        | Register::ArbitrationPriority
        | Register::ProcessorPriority
        | Register::RemoteRead
        | Register::LogicalDestination
        | Register::DestinationFormat
        | Register::InService(_)
        | Register::TriggerMode(_)
        | Register::InterruptRequest(_)
        | Register::InterruptCommandHigh
        | Register::CurrentCount => None,
    }
}
