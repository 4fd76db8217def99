//! The Local APIC (Intel SDM volume 3A, chapter 11 "APIC"), as a pure model.
//!
//! A [`LocalApic`] does no I/O and reads no clock. Every register access carries the guest time ([`Now`]),
//! and whatever the timer owed up to that time happens first, so its behaviour is a function of the
//! accesses and their times and of nothing else. What leaves the APIC (interprocessor interrupts, EOI
//! broadcasts) is a value in a queue that the caller drains; what reaches the processor core (NMI, SMI,
//! INIT, start-up) is a returned [`Delivered`].
//!
//! The duties of the caller, per instruction boundary:
//!
//! 1. [`LocalApic::advance`] at the latest when [`LocalApic::next_deadline_ns`] is reached;
//! 2. [`LocalApic::next_outgoing`] until empty after each register write, routing each message with
//!    [`LocalApic::matches`] (and [`lowest_priority`]) and handing it to [`LocalApic::deliver`];
//! 3. [`LocalApic::pending_vector`] when interrupts are enabled, and [`LocalApic::acknowledge`] when one is taken;
//! 4. [`LocalApic::init`] when it resets the core for an INIT.
//!
//! Left out on purpose: the INIT / wait-for-SIPI state of the core (the caller's), the arbitration bus and
//! its checksum and acceptance errors (P6 and Pentium only), remote read, and writable APIC IDs.
//!
//! Section numbers in this crate are those of the edition in which the APIC is chapter 11.
#![forbid(unsafe_code)]

mod apic;
mod apic_base;
mod clock;
mod error_status;
mod ipi;
mod lvt;
mod message;
mod pins;
mod priority;
mod registers;
mod routing;
mod saved_state;
mod timer;
mod vector_set;
mod x2apic;
mod xapic;

pub use apic::{Config, GeneralProtection, LocalApic};
pub use apic_base::{DEFAULT_MMIO_BASE, Mode};
pub use clock::{Now, TscClock};
pub use ipi::{Ipi, Outgoing, Target};
pub use lvt::LocalSource;
pub use message::{Delivered, Delivery, Destination, DestinationMode, DestinationWidth, Message, Trigger};
pub use pins::Lint;
pub use priority::EoiBroadcast;
pub use routing::lowest_priority;
pub use saved_state::{SavedState, SavedStateError};
pub use x2apic::{MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_FIRST, MSR_X2APIC_LAST};
