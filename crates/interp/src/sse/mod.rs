//! The instructions on vector registers: MMX, SSE to SSE4.2 (SDM 1, chapters 9 to 12), and SSE4.2's and POPCNT's on general registers.
//!
//! # How an instruction is written
//!
//! Nearly all of them combine a destination register with a source that is a register or memory. Such an instruction is one line of an
//! [`operations!`](operation::operations) table: its mnemonic and a closure over the operands. The heading over the lines says what surrounds
//! the closure (`combine`, `compute` with MXCSR, ...) and which registers and memory sizes the instruction takes; see [`operation`].
//! Lane-wise closures come from [`lanes`] and serve MMX and XMM registers alike. What has another shape has a handler of its own.
//!
//! Each handler first asks its register file whether it may be used ([`vector::Vector::enter`]), then reads, computes, and commits last.
//! VEX encodings have mnemonics of their own and no family takes them. AES is in `crypto`, the state images in `xsave`.

mod approximate;
mod arithmetic;
mod blend;
mod cacheability;
mod compare;
mod convert;
mod element;
mod float;
mod general;
pub(crate) mod lanes;
mod logic;
mod moves;
pub(crate) mod operation;
mod shift;
mod shuffle;
mod strings;
pub(crate) mod vector;
mod width;

use decode::Selected;
use iced_x86::{Code, Instruction};

use crate::Handler;

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    type Group = fn(&Instruction) -> Option<Selected<Handler>>;
    const GROUPS: &[Group] = &[
        moves::select,
        logic::select,
        arithmetic::select,
        shuffle::select,
        float::select,
        compare::select,
        convert::select,
        shift::select,
        width::select,
        element::select,
        blend::select,
        approximate::select,
        strings::select,
        general::select,
        cacheability::select,
    ];
    // Two string instructions share their mnemonics with scalar double-precision ones.
    if matches!(instruction.code(), Code::Movsd_m32_m32 | Code::Cmpsd_m32_m32) {
        return None;
    }
    GROUPS.iter().find_map(|group| group(instruction))
}
