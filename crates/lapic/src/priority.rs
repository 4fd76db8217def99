//! Fixed interrupts from acceptance to completion: IRR, ISR, TMR, the priorities, EOI (SDM 3A 11.8.3 to 11.8.6).

use crate::apic::{GeneralProtection, LocalApic};
use crate::apic_base::Mode;
use crate::error_status::ApicError;
use crate::message::Trigger;
use crate::vector_set::FIRST_LEGAL_VECTOR;

/// The message that tells the I/O APICs that a level-triggered interrupt was completed (11.8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EoiBroadcast {
    /// The vector that was completed.
    pub vector: u8,
}

/// The priority class of a vector or priority register.
fn class(value: u8) -> u8 {
    value >> 4
}

impl LocalApic {
    /// Accepts a fixed interrupt into the IRR (11.8.4). Returns whether it was taken: a disabled APIC ignores it, and
    /// a vector below 16 is a receive-illegal-vector error.
    pub fn accept_fixed(&mut self, vector: u8, trigger: Trigger) -> bool {
        if !self.accepts_interrupts() {
            return false;
        }
        if vector < FIRST_LEGAL_VECTOR {
            self.raise_error(ApicError::ReceiveIllegalVector);
            return false;
        }
        self.irr.insert(vector);
        match trigger {
            Trigger::Edge => self.tmr.remove(vector),
            Trigger::Level => self.tmr.insert(vector),
        }
        true
    }

    /// The vector that the processor may take now: the highest in the IRR, if its class is above the PPR's.
    /// Interrupts held when the APIC is disabled by software remain deliverable (11.4.7.2).
    pub fn pending_vector(&self) -> Option<u8> {
        let vector = self.irr.highest()?;
        (class(vector) > class(self.processor_priority())).then_some(vector)
    }

    /// The interrupt acknowledge cycle: moves the pending vector from the IRR to the ISR and returns it. When nothing
    /// is pending any more, the spurious vector, which enters no register and needs no EOI (11.9).
    pub fn acknowledge(&mut self) -> u8 {
        let Some(vector) = self.pending_vector() else {
            return self.svr.vector();
        };
        self.irr.remove(vector);
        self.isr.insert(vector);
        vector
    }

    /// End of interrupt (11.8.5): completes the highest vector in service. Returns the broadcast due to the I/O APICs,
    /// for level-triggered vectors while broadcasts are not suppressed. (A guest's write to the EOI register puts it in
    /// the outgoing queue.)
    pub fn eoi(&mut self) -> Option<EoiBroadcast> {
        let vector = self.isr.highest()?;
        self.isr.remove(vector);
        if !self.tmr.contains(vector) {
            return None;
        }
        self.end_lint0_service(vector);
        (!self.svr.suppresses_eoi_broadcast()).then_some(EoiBroadcast { vector })
    }

    /// CR8: the class of the task priority (11.8.6), 0 to 15.
    pub fn cr8(&self) -> u8 {
        class(self.tpr)
    }

    /// Writes CR8, and with it the TPR, whose sub-class becomes zero.
    ///
    /// # Errors
    ///
    /// [`GeneralProtection`] when a bit above bit 3 is set.
    pub fn set_cr8(&mut self, value: u64) -> Result<(), GeneralProtection> {
        if value > 15 {
            return Err(GeneralProtection);
        }
        self.tpr = (value as u8) << 4;
        Ok(())
    }

    /// PPR (11.8.3.1). Where the classes of TPR and ISR are equal, the manual leaves the sub-class to the model: the TPR's.
    pub(crate) fn processor_priority(&self) -> u8 {
        let in_service = self.isr.highest().unwrap_or(0);
        if class(self.tpr) >= class(in_service) { self.tpr } else { in_service & 0xF0 }
    }

    /// APR (11.6.2.4): what lowest-priority arbitration compares.
    pub(crate) fn arbitration_priority(&self) -> u8 {
        let requested = class(self.irr.highest().unwrap_or(0));
        let in_service = class(self.isr.highest().unwrap_or(0));
        let task = class(self.tpr);
        if task >= requested && task > in_service { self.tpr } else { (task & in_service).max(requested) << 4 }
    }

    /// Whether this is the focus processor of `vector`: it holds it already, and focus checking is on (11.6.2.4).
    pub(crate) fn is_focus(&self, vector: u8) -> bool {
        self.mode() != Mode::Disabled && self.svr.focus_checking() && (self.irr.contains(vector) || self.isr.contains(vector))
    }
}
