//! Frames that control transfers push: several words at once onto the present stack or onto a new one, all of it
//! checked before the first is written (SDM 3A, 6.12, 6.14; 5.8.5).

use cpu::segment::{self, Segment};
use cpu::tlb::{AccessKind, View};
use cpu::{Fault, Mode};

use crate::core::{Core, Exec};
use crate::tables::is_canonical;

/// Most words in a frame: a call gate's 31 parameters and SS, ESP, CS, EIP.
const MAX_WORDS: usize = 36;

/// The words of a frame in the order in which they are pushed.
pub(crate) struct Frame {
    words: [u64; MAX_WORDS],
    count: usize,
    /// Bytes in a word: 2, 4 or 8.
    width: u8,
}

impl Frame {
    pub fn new(width: u8) -> Self {
        Self { words: [0; MAX_WORDS], count: 0, width }
    }

    pub fn push(&mut self, word: u64) {
        self.words[self.count] = word;
        self.count += 1;
    }
}

/// A stack that a frame is pushed onto.
pub(crate) struct Stack {
    pub segment: Segment,
    pub pointer: u64,
    /// Wrap of the pointer.
    pub mask: u64,
    /// Flat, with canonical checks only.
    pub flat: bool,
    /// Whose permissions the pushes have.
    pub view: View,
    /// Error code of its stack faults.
    pub error: u32,
}

impl Stack {
    /// The stack in use.
    pub fn current(core: &Core, error: u32) -> Self {
        Self {
            segment: core.cpu.seg[segment::SS],
            pointer: core.cpu.regs[4] & core.cpu.stack_mask,
            mask: core.cpu.stack_mask,
            flat: core.cpu.mode == Mode::Long64,
            view: core.cpu.view,
            error,
        }
    }

    /// A stack outside IA-32e mode for a more privileged level, reached with implicit supervisor accesses.
    pub fn inner(core: &Core, segment: Segment, pointer: u64, error: u32) -> Self {
        let mask = if segment.access.big() { 0xffff_ffff } else { 0xffff };
        Self { segment, pointer: pointer & mask, mask, flat: false, view: core.cpu.system_view(), error }
    }

    /// A stack of 64-bit code at privilege level `cpl`.
    pub fn long(core: &Core, pointer: u64, cpl: u8, error: u32) -> Self {
        let view = if cpl == 3 { View::User } else { core.cpu.system_view() };
        Self { segment: Segment::default(), pointer, mask: u64::MAX, flat: true, view, error }
    }

    /// Checks that `frame` can be pushed: nothing is written.
    pub fn probe(&self, core: &mut Core, frame: &Frame) -> Exec {
        for index in 0..frame.count {
            let linear = self.slot(core, frame, index)?;
            core.translate(linear, AccessKind::Write, self.view, segment::FLAT_STACK as u8)?;
            let last = linear.wrapping_add(u64::from(frame.width) - 1) & if self.flat { u64::MAX } else { 0xffff_ffff };
            if last >> 12 != linear >> 12 {
                core.translate(last & !0xfff, AccessKind::Write, self.view, segment::FLAT_STACK as u8)?;
            }
        }
        Ok(())
    }

    /// Pushes `frame`, which was probed, and returns the new stack pointer.
    pub fn write(&self, core: &mut Core, frame: &Frame) -> Exec<u64> {
        for (index, &word) in frame.words[..frame.count].iter().enumerate() {
            let linear = self.slot(core, frame, index)?;
            let seg = segment::FLAT_STACK as u8;
            match frame.width {
                2 => core.store(linear, self.view, seg, word as u16)?,
                4 => core.store(linear, self.view, seg, word as u32)?,
                _ => core.store(linear, self.view, seg, word)?,
            }
        }
        Ok(self.offset(frame, frame.count))
    }

    /// The stack pointer after `count` words.
    fn offset(&self, frame: &Frame, count: usize) -> u64 {
        self.pointer.wrapping_sub(count as u64 * u64::from(frame.width)) & self.mask
    }

    /// Linear address of the word at `index`, after the segment's checks.
    fn slot(&self, core: &mut Core, frame: &Frame, index: usize) -> Exec<u64> {
        let offset = self.offset(frame, index + 1);
        let last = offset.wrapping_add(u64::from(frame.width) - 1);
        let fault = Fault::ss(self.error);
        if self.flat {
            core.fault_if(!is_canonical(offset) || !is_canonical(last), fault)?;
            return Ok(offset);
        }
        let access = self.segment.access;
        let limit = u64::from(self.segment.limit);
        let inside = if access.is_expand_down() && core.cpu.mode != Mode::Real {
            offset > limit && last <= if access.big() { 0xffff_ffff } else { 0xffff }
        } else {
            last <= limit
        };
        core.fault_if(!inside || access.is_unusable(), fault)?;
        Ok(self.segment.base.wrapping_add(offset) & 0xffff_ffff)
    }
}
