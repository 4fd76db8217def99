//! The architectural state of one x86 processor and the rules that belong to state rather than to an instruction.
//!
//! - [`Cpu`]: every register; [`Cpu::update_mode`] derives what depends on several of them.
//! - [`flags`]: RFLAGS with lazily evaluated arithmetic flags.
//! - [`segment`]: segment registers with their hidden parts, descriptors.
//! - [`fault`]: exceptions and their error codes.
//! - [`paging`]: the page walk; [`tlb`]: its cache.
//! - [`clock`]: guest time.
//! - [`control`]: bits of control registers and model-specific registers.
//! - [`model`]: the frozen CPU models and CPUID.
#![forbid(unsafe_code)]

pub mod clock;
pub mod control;
pub mod fault;
pub mod flags;
pub mod model;
pub mod paging;
pub mod segment;
mod state;
pub mod tlb;
mod x87_state;

pub use clock::GuestClock;
pub use fault::Fault;
pub use flags::Flags;
pub use guest_mem::Word;
pub use model::{CpuModel, ModelError};
pub use segment::{Segment, TableRegister};
pub use state::{Cpu, Mode, Msrs, RIP, ZERO};
pub use tlb::Tlb;
pub use x87_state::X87State;
