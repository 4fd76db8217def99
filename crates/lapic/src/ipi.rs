//! Sending interprocessor interrupts: the interrupt command register (SDM 3A 11.6.1, x2APIC 11.12.9) and SELF IPI
//! (11.12.11). Sending takes no time, so the delivery status always reads as idle.

use crate::apic::LocalApic;
use crate::apic_base::Mode;
use crate::error_status::ApicError;
use crate::message::{Delivery, DeliveryMode, Destination, DestinationMode, DestinationWidth, Trigger};
use crate::priority::EoiBroadcast;
use crate::vector_set::FIRST_LEGAL_VECTOR;

/// A message that left this APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// For other APICs, or this one.
    Ipi(Ipi),
    /// For the I/O APICs.
    Eoi(EoiBroadcast),
}

/// An interprocessor interrupt. It has neither level nor trigger mode: processors since the Pentium 4 issue all IPIs as
/// asserted edges, and ignore the INIT level de-assert (11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    pub target: Target,
    /// Never [`Delivery::ExtInt`].
    pub delivery: Delivery,
}

/// To whom an IPI is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Those that [`LocalApic::matches`] says.
    Destination(Destination),
    /// The sender. (Fixed interrupts to the sender are accepted at once and never appear here.)
    SelfOnly,
    AllIncludingSelf,
    AllExcludingSelf,
}

/// The ICR as one register, as x2APIC mode has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterruptCommand(pub(crate) u64);

impl InterruptCommand {
    /// The low half's bits that software may write: vector, delivery mode, destination mode, level, trigger mode, shorthand.
    pub(crate) const LOW_WRITABLE: u32 = 0x000C_CFFF;
    /// The xAPIC's destination field.
    pub(crate) const XAPIC_HIGH_WRITABLE: u32 = 0xFF00_0000;
    pub(crate) const DELIVERY_STATUS: u32 = 1 << 12;

    pub(crate) fn low(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn set_low(&mut self, value: u32) {
        self.0 = self.0 & !u64::from(u32::MAX) | u64::from(value);
    }

    pub(crate) fn set_high(&mut self, value: u32) {
        self.0 = self.0 & u64::from(u32::MAX) | u64::from(value) << 32;
    }

    fn vector(self) -> u8 {
        self.0 as u8
    }

    fn delivery_mode(self) -> DeliveryMode {
        DeliveryMode::from_bits(self.low() >> 8)
    }

    fn destination_mode(self) -> DestinationMode {
        if self.0 & 1 << 11 != 0 { DestinationMode::Logical } else { DestinationMode::Physical }
    }

    fn is_level_deassert(self) -> bool {
        self.0 & 1 << 14 == 0 && self.0 & 1 << 15 != 0
    }

    fn target(self, width: DestinationWidth) -> Target {
        match self.0 >> 18 & 0b11 {
            0b00 => Target::Destination(Destination {
                id: match width {
                    DestinationWidth::Bits8 => self.high() >> 24,
                    DestinationWidth::Bits32 => self.high(),
                },
                mode: self.destination_mode(),
                width,
            }),
            0b01 => Target::SelfOnly,
            0b10 => Target::AllIncludingSelf,
            _ => Target::AllExcludingSelf,
        }
    }
}

impl LocalApic {
    /// Carries out the command in the ICR.
    pub(crate) fn send_ipi(&mut self) {
        let icr = self.icr;
        let vector = icr.vector();
        let delivery = match icr.delivery_mode() {
            DeliveryMode::Fixed => Delivery::Fixed(vector),
            DeliveryMode::LowestPriority => Delivery::LowestPriority(vector),
            DeliveryMode::Smi => Delivery::Smi,
            DeliveryMode::Nmi => Delivery::Nmi,
            DeliveryMode::Init if icr.is_level_deassert() => return,
            DeliveryMode::Init => Delivery::Init,
            DeliveryMode::Startup => Delivery::Startup(vector),
            DeliveryMode::ExtInt | DeliveryMode::Reserved => return,
        };
        let width = match self.mode() {
            Mode::X2Apic => DestinationWidth::Bits32,
            Mode::XApic | Mode::Disabled => DestinationWidth::Bits8,
        };
        match (icr.target(width), delivery) {
            (Target::SelfOnly, Delivery::Fixed(_) | Delivery::LowestPriority(_)) => self.send_to_self(vector),
            (_, Delivery::Fixed(_) | Delivery::LowestPriority(_)) if vector < FIRST_LEGAL_VECTOR => {
                self.raise_error(ApicError::SendIllegalVector);
            }
            (target, delivery) => self.outgoing.push_back(Outgoing::Ipi(Ipi { target, delivery })),
        }
    }

    /// A fixed, edge-triggered interrupt to this very APIC.
    pub(crate) fn send_to_self(&mut self, vector: u8) {
        if vector < FIRST_LEGAL_VECTOR {
            self.raise_error(ApicError::SendIllegalVector);
        } else {
            self.accept_fixed(vector, Trigger::Edge);
        }
    }
}
