//! The x87 instructions, D8 to DF and FWAIT (SDM 1, chapter 8; SDM 2A, F). The arithmetic itself is in the `softfloat` crate.
//!
//! How the rooms connect: [`unit`] has the register stack and what every instruction does before and after its work (#NM, #MF,
//! flags, C1, last-instruction pointers); a file per group has the instructions; [`image`] has the memory layouts, which FXSAVE and XSAVE share.
//!
//! Exceptions are reported late, as on hardware: an unmasked one sets ES, and the next waiting instruction takes #MF. With CR0.NE
//! clear the unit behaves as if IGNNE# were asserted: the error goes unreported.

mod arithmetic;
mod compare;
mod control;
pub(crate) mod image;
mod load;
mod store;
mod transcendental;
mod transfer;
pub(crate) mod unit;

use decode::Selected;
use iced_x86::Instruction;

use crate::Handler;

/// How a group offers its instructions.
type Select = fn(&Instruction) -> Option<Selected<Handler>>;

const GROUPS: [Select; 7] =
    [load::select, store::select, arithmetic::select, compare::select, transfer::select, transcendental::select, control::select];

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    GROUPS.iter().find_map(|group| group(instruction))
}
