//! The interpreter: the specification that every other tier is tested against.
//!
//! # How an instruction runs
//!
//! [`select`] maps a decoded instruction to a [`Handler`]; decoding packs its operands into an [`Op`] beside it. A
//! handler gets the [`Core`] and the `Op` and returns [`Exec`]:
//!
//! - `Ok(())`: the instruction is complete. RIP ([`cpu::RIP`]) was already the next instruction's when the handler began; branches replace it.
//! - `Err(Stop::Fault)`: nothing architectural has changed; [`Core::fault`] says which exception. Use [`Core::raise`].
//! - `Err(Stop::Exit)`: a device must answer first; the instruction runs again from its start with the answer (see [`device`]).
//!
//! So every handler *probes, then commits*: no register, flag or RSP changes before the last access that can fault or
//! exit. [`Core::read`], [`Core::write`] and [`Core::update`] (read-modify-write) make all accesses, with segment, canonical and paging checks.
//!
//! # A family
//!
//! Each family file exposes `select(&Instruction) -> Option<Selected<Handler>>`: `Some(plain(f))` for ordinary
//! instructions, `Some(ends(f))` where the block must end (the instruction may change mode, mappings or
//! interruptibility), `Some(alone(f))` for instructions that count several times (`rep`). Generic operand forms are in [`operand`].
//!
//! Undefined flags and vendor-specific results follow one table, stated at each place as "(undefined; the table says ...)".
#![forbid(unsafe_code)]

mod arith;
mod atomic;
mod bit;
mod branch;
mod control_register;
mod core;
mod crypto;
pub mod deliver;
pub mod device;
mod far;
mod fast_call;
mod flag;
mod frame;
mod interrupt;
pub mod io;
mod isa;
mod logic;
mod memory;
mod mmx;
mod mov;
mod msr;
mod muldiv;
pub mod operand;
mod segment;
mod shift;
mod sse;
mod stack;
mod string;
mod system;
mod system_flag;
mod tables;
mod task;
mod x87;
mod xsave;

use decode::Selected;
use iced_x86::Instruction;

pub use crate::core::{Attention, Core, Exec, SingleStep, Stop};
pub use crate::isa::selector;

/// What executes one instruction.
#[derive(Clone, Copy)]
pub struct Handler(pub fn(&mut Core, &Op) -> Exec);

/// A decoded instruction with its handler.
pub type Op = decode::Op<Handler>;
/// A block of such.
pub type Block = decode::Block<Handler>;

/// An instruction after which the next one follows in the same block.
pub(crate) fn plain(f: fn(&mut Core, &Op) -> Exec) -> Selected<Handler> {
    Selected { handler: Handler(f), ends_block: false, alone: false }
}

/// An instruction that ends its block.
pub(crate) fn ends(f: fn(&mut Core, &Op) -> Exec) -> Selected<Handler> {
    Selected { handler: Handler(f), ends_block: true, alone: false }
}

/// An instruction that has a block of its own.
pub(crate) fn alone(f: fn(&mut Core, &Op) -> Exec) -> Selected<Handler> {
    Selected { handler: Handler(f), ends_block: true, alone: true }
}

/// A family's choice of handler; none for instructions of other families.
pub(crate) type Family = fn(&Instruction) -> Option<Selected<Handler>>;

/// The handler of an instruction on a processor that has every feature; #UD for what no family knows.
pub fn select(instruction: &Instruction) -> Selected<Handler> {
    if instruction.is_invalid() {
        return ends(if instruction.len() == decode::block::MAX_LENGTH { too_long } else { undefined });
    }
    // Those that take only some forms of a mnemonic (MOV CR, PUSH of a segment, far JMP) come before its main family.
    const FAMILIES: &[Family] = &[
        segment::select,
        control_register::select,
        far::select,
        mov::select,
        arith::select,
        logic::select,
        branch::select,
        stack::select,
        shift::select,
        bit::select,
        muldiv::select,
        string::select,
        atomic::select,
        flag::select,
        system_flag::select,
        interrupt::select,
        fast_call::select,
        system::select,
        io::select,
        x87::select,
        sse::select,
        mmx::select,
        crypto::select,
        xsave::select,
    ];
    FAMILIES.iter().find_map(|family| family(instruction)).unwrap_or(ends(undefined))
}

/// Prefixes without an end: no instruction is longer than 15 bytes (SDM 2A, 2.3.11).
fn too_long(core: &mut Core, _: &Op) -> Exec {
    Err(core.raise(cpu::Fault::GP0))
}

/// Invalid opcode.
fn undefined(core: &mut Core, _: &Op) -> Exec {
    Err(core.raise(cpu::Fault::UD))
}
