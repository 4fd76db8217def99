//! A machine's processors, from power-on to exits.
//!
//! - [`machine`]: RAM, clock, processors, and the messages between Local APICs.
//! - [`run`]: the loop that runs blocks, counts instructions, delivers interrupts and returns exits.
//! - [`lookup`]: from RIP to a decoded block.
//! - [`exit`]: the exits.
//! - [`registers`]: architectural registers as a value, and the dump of a crash report.
//!
//! The caller answers an exit and calls [`Machine::run`] again; nothing is ever called back.
#![forbid(unsafe_code)]

pub mod exit;
mod lookup;
pub mod machine;
pub mod registers;
mod run;

pub use exit::Exit;
pub use machine::{Config, Machine, MachineError, Stats};
pub use registers::Registers;
