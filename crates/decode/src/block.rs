//! A block: a run of instructions that lies within one page and is entered only at its start, or a single
//! instruction that crosses from one page into the next.

use std::cell::Cell;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use crate::op::{Op, pack};

/// Most instructions in a block.
const MAX_OPS: usize = 48;
/// Longest x86 instruction, in bytes.
pub const MAX_LENGTH: usize = 15;

/// What identifies a block: where its first byte lies in RAM, and how its bytes are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockKey {
    pub ram_offset: usize,
    /// 16, 32 or 64.
    pub code_bits: u8,
}

/// What the engine selects for an instruction.
#[derive(Clone, Copy)]
pub struct Selected<H> {
    pub handler: H,
    /// The block ends after this instruction, besides the branches that always end it: it may change what the
    /// following bytes mean or who may execute them, or an interrupt may be taken after it.
    pub ends_block: bool,
    /// The instruction has a block of its own: it counts as several (`rep`).
    pub alone: bool,
}

/// A decoded block.
pub struct Block<H> {
    pub ops: Box<[Op<H>]>,
    pub key: BlockKey,
    /// Bytes.
    pub length: usize,
    /// RAM offset of the second page's first byte, where a single instruction crosses pages.
    pub second_page: Option<usize>,
    /// The last instruction asked for the block to end there: the run loop looks around after it.
    pub ends_stretch: bool,
    /// Cleared when its bytes are written; a running block is left after the current instruction.
    pub valid: Cell<bool>,
}

/// Decodes a block from `bytes`: what is left of the page from the block's first byte, or, when the first
/// instruction does not fit there, the bytes of both pages with `crossing` the length of the first part.
///
/// Undecodable bytes become one record that the engine's `select` maps to #UD. Returns None when the first
/// instruction needs bytes beyond `bytes`: with `crossing` None call again with both pages, else its segment ends within it.
pub fn form<H: Copy>(
    key: BlockKey,
    bytes: &[u8],
    crossing: Option<usize>,
    mut select: impl FnMut(&Instruction) -> Selected<H>,
) -> Option<Block<H>> {
    let mut decoder = Decoder::with_ip(u32::from(key.code_bits), bytes, 0, DecoderOptions::NONE);
    let mut ops: Vec<Op<H>> = Vec::with_capacity(8);
    let mut instruction = Instruction::default();
    let mut length = 0;
    let mut ends_stretch = false;
    while decoder.can_decode() && ops.len() < MAX_OPS {
        decoder.decode_out(&mut instruction);
        let runs_out = instruction.is_invalid() && bytes.len() - length < MAX_LENGTH;
        if runs_out && decoder.last_error() == iced_x86::DecoderError::NoMoreBytes {
            // The next page's bytes belong to an instruction block of its own.
            break;
        }
        let selected = select(&instruction);
        if selected.alone && !ops.is_empty() {
            break;
        }
        length += instruction.len();
        let mut op = pack(&instruction, selected.handler, key.code_bits);
        op.end = length as u16;
        op.position = ops.len() as u8;
        ops.push(op);
        let ends = instruction.is_invalid() || instruction.flow_control() != FlowControl::Next || selected.ends_block || selected.alone;
        ends_stretch = selected.ends_block;
        if ends || crossing.is_some() {
            break;
        }
    }
    if ops.is_empty() {
        return None;
    }
    let second_page = crossing.filter(|first_part| length > *first_part);
    Some(Block { ops: ops.into_boxed_slice(), key, length, second_page, ends_stretch, valid: Cell::new(true) })
}
