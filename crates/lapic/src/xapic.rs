//! The xAPIC register page (SDM 3A 11.4.1): 32-bit registers, 16 bytes apart.
//!
//! Software must use aligned 32-bit accesses. Of others the manual says that narrower ones work on some models, and that
//! those touching bytes 4 to 15 of a register are undefined. Here narrower reads and writes see the bytes of the register they
//! name, bytes 4 to 15 read as zero, and writes to them are lost; nothing spills into the next register.

use crate::Now;
use crate::apic::LocalApic;
use crate::apic_base::Mode;
use crate::error_status::ApicError;
use crate::ipi::InterruptCommand;
use crate::registers::{DFR_WRITABLE, DIVIDE_WRITABLE, LDR_WRITABLE, Register, SVR_WRITABLE};

impl LocalApic {
    /// Reads `size` bytes (1 to 8) at `offset` of the register page (0 to 0xFFF); the bytes above `size` are zero. Reserved
    /// registers read as zero and are an illegal-register-address error. All ones outside xAPIC mode, where the page
    /// does not exist.
    pub fn read_mmio(&mut self, offset: u16, size: u8, now: Now) -> u64 {
        let bytes = ones(size);
        if self.mode() != Mode::XApic {
            return bytes;
        }
        self.advance(now);
        let (index, shift) = locate(offset);
        match (xapic_register(index), shift) {
            (Some(register), 0..32) => u64::from(self.read_register(register, now)) >> shift & bytes,
            (Some(_), _) => 0,
            (None, _) => {
                self.raise_error(ApicError::IllegalRegisterAddress);
                0
            }
        }
    }

    /// Writes the low `size` bytes (1 to 8) of `value` at `offset` of the register page (0 to 0xFFF). Writes to read-only
    /// registers and reserved bits have no effect; writes to reserved registers are an illegal-register-address error. The caller
    /// drains [`next_outgoing`](Self::next_outgoing) afterwards.
    pub fn write_mmio(&mut self, offset: u16, size: u8, value: u64, now: Now) {
        if self.mode() != Mode::XApic {
            return;
        }
        self.advance(now);
        let (index, shift) = locate(offset);
        match (xapic_register(index), shift) {
            (Some(register), 0..32) => {
                let written = (ones(size) << shift) as u32;
                let kept = self.read_register(register, now) & !written;
                let value = (value << shift) as u32 & written | kept;
                if let Some(writable) = writable_bits(register) {
                    self.write_register(register, value & writable, now);
                }
            }
            (Some(_), _) => {}
            (None, _) => self.raise_error(ApicError::IllegalRegisterAddress),
        }
    }
}

/// The index of the register at a page offset, and the bit in its 16 bytes.
fn locate(offset: u16) -> (u32, u32) {
    (u32::from(offset & 0xFFF) >> 4, u32::from(offset & 0xF) * 8)
}

fn ones(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
}

fn xapic_register(index: u32) -> Option<Register> {
    Register::from_index(index).filter(|&register| register != Register::SelfIpi)
}

/// The bits that software may write; none for read-only registers.
fn writable_bits(register: Register) -> Option<u32> {
    match register {
        Register::TaskPriority => Some(0xFF),
        Register::Eoi | Register::ErrorStatus | Register::InitialCount => Some(u32::MAX),
        Register::LogicalDestination => Some(LDR_WRITABLE),
        Register::DestinationFormat => Some(DFR_WRITABLE),
        Register::SpuriousVector => Some(SVR_WRITABLE),
        Register::Lvt(entry) => Some(entry.writable_bits()),
        Register::InterruptCommand => Some(InterruptCommand::LOW_WRITABLE),
        Register::InterruptCommandHigh => Some(InterruptCommand::XAPIC_HIGH_WRITABLE),
        Register::DivideConfiguration => Some(DIVIDE_WRITABLE),
        // 11.4.6: whether the APIC ID can be written is up to the model. In this one it cannot.
        Register::Id
        | Register::Version
        | Register::ArbitrationPriority
        | Register::ProcessorPriority
        | Register::RemoteRead
        | Register::InService(_)
        | Register::TriggerMode(_)
        | Register::InterruptRequest(_)
        | Register::CurrentCount
        | Register::SelfIpi => None,
    }
}
