//! The Local APIC through its registers, in virtual time. Each file is one subject of SDM 3A chapter 11.

mod bench;
mod errors;
mod ipi;
mod lvt;
mod modes;
mod priority;
mod random_traffic;
mod routing;
mod saved_state;
mod timer;
mod x2apic;
