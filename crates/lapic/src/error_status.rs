//! The error status register (SDM 3A 11.5.3) and the error interrupt.
//!
//! Errors gather out of sight; a write to the ESR moves them to where a read sees them, and rearms the interrupt.

use crate::apic::LocalApic;
use crate::lvt::LvtEntry;
use crate::message::Trigger;

/// The errors this APIC can detect. Those of the arbitration bus (bits 0-3) need that bus; bit 4 means that
/// lowest-priority IPIs are unsupported, and they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApicError {
    SendIllegalVector = 1 << 5,
    ReceiveIllegalVector = 1 << 6,
    IllegalRegisterAddress = 1 << 7,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorStatus {
    /// What a read of the ESR returns.
    pub(crate) visible: u32,
    /// Errors since the last write to the ESR.
    pub(crate) gathered: u32,
    /// Whether the next error may interrupt.
    pub(crate) armed: bool,
}

impl ErrorStatus {
    pub(crate) const RESET: Self = Self { visible: 0, gathered: 0, armed: true };
    pub(crate) const VALID: u32 =
        ApicError::SendIllegalVector as u32 | ApicError::ReceiveIllegalVector as u32 | ApicError::IllegalRegisterAddress as u32;

    /// A write to the ESR, of whatever value.
    pub(crate) fn latch(&mut self) {
        *self = Self { visible: self.gathered, gathered: 0, armed: true };
    }
}

impl LocalApic {
    pub(crate) fn raise_error(&mut self, error: ApicError) {
        self.errors.gathered |= error as u32;
        let lvt = self.lvt[LvtEntry::Error as usize];
        if self.errors.armed && !lvt.masked() {
            // Disarmed first: an illegal vector in this very entry is an error too, and must not interrupt again.
            self.errors.armed = false;
            self.accept_fixed(lvt.vector(), Trigger::Edge);
        }
    }
}
