//! The register stack, and what frames every x87 instruction: availability before, flags and pointers after (SDM 1, 8.1, 8.6, 8.7).

use cpu::tlb::AccessKind;
use cpu::{Fault, X87State, control::cr0, segment};
use softfloat::{Env, Exceptions, F80};

use crate::{Core, Exec, Op};
use decode::op::prefix::MEMORY;

/// Bits of the status word (SDM 1, figure 8-4).
pub(crate) mod status {
    pub const SF: u16 = 1 << 6;
    pub const ES: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const C3: u16 = 1 << 14;
    pub const B: u16 = 1 << 15;
    pub const CODES: u16 = C0 | C1 | C2 | C3;
}

/// Control word bits that can be set; bit 6 always reads as 1.
const CONTROL_WRITABLE: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

/// The register stack as instructions see it.
pub(crate) trait Stack {
    /// Whether ST(i) is empty; `i` counts modulo 8.
    fn is_empty(&self, i: u8) -> bool;
    /// ST(i), empty or not.
    fn st(&self, i: u8) -> F80;
    /// Writes ST(i) and marks it valid.
    fn set(&mut self, i: u8, value: F80);
    /// Marks ST(i) empty.
    fn free(&mut self, i: u8);
    /// Makes a new ST(0).
    fn push(&mut self, value: F80);
    /// Frees ST(0) and moves the top up.
    fn pop(&mut self);
    /// Replaces the control word: reserved bits keep their values, and a pending exception may become unmasked or masked.
    fn set_control(&mut self, control: u16);
    /// Replaces the status word, TOP included.
    fn set_status_word(&mut self, status: u16);
    /// The arithmetic environment that the control word asks for.
    fn environment(&self) -> Env;
}

impl Stack for X87State {
    fn is_empty(&self, i: u8) -> bool {
        self.empty >> (self.top.wrapping_add(i) & 7) & 1 != 0
    }

    fn st(&self, i: u8) -> F80 {
        self.registers[usize::from(self.top.wrapping_add(i) & 7)]
    }

    fn set(&mut self, i: u8, value: F80) {
        let physical = self.top.wrapping_add(i) & 7;
        self.registers[usize::from(physical)] = value;
        self.empty &= !(1 << physical);
    }

    fn free(&mut self, i: u8) {
        self.empty |= 1 << (self.top.wrapping_add(i) & 7);
    }

    fn push(&mut self, value: F80) {
        self.top = self.top.wrapping_sub(1) & 7;
        self.set(0, value);
    }

    fn pop(&mut self) {
        self.free(0);
        self.top = self.top.wrapping_add(1) & 7;
    }

    fn set_control(&mut self, control: u16) {
        self.control = control & CONTROL_WRITABLE | CONTROL_FIXED;
        summarize(self);
    }

    fn set_status_word(&mut self, status: u16) {
        self.top = (status >> 11 & 7) as u8;
        self.status = status & !(7 << 11);
        summarize(self);
    }

    fn environment(&self) -> Env {
        Env::from_x87_control(self.control)
    }
}

/// ES and B say whether an unmasked exception is pending.
fn summarize(x87: &mut X87State) {
    let pending = x87.status & !x87.control & u16::from(Exceptions::ALL.0) != 0;
    x87.status &= !(status::ES | status::B);
    if pending {
        x87.status |= status::ES | status::B;
    }
}

/// #NM, for instructions that do not wait: the unit is emulated or belongs to another task.
pub(crate) fn available(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.cr0 & (cr0::EM | cr0::TS) != 0, Fault::NM)
}

/// #MF if an unmasked exception is pending and reported inside.
pub(crate) fn no_pending_error(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.x87.status & status::ES != 0 && core.cpu.cr0 & cr0::NE != 0, Fault::MF)
}

/// What a waiting instruction checks first.
pub(super) fn enter(core: &mut Core) -> Exec {
    available(core)?;
    no_pending_error(core)
}

/// What an instruction does to the status word.
#[derive(Clone, Copy)]
pub(super) struct Effects {
    flags: Exceptions,
    stack_fault: bool,
    c1: bool,
}

impl Effects {
    /// No exception; C1 clear.
    pub const NONE: Self = Self { flags: Exceptions::NONE, stack_fault: false, c1: false };
    /// A needed register is empty.
    pub const UNDERFLOW: Self = Self { flags: Exceptions::INVALID, stack_fault: true, c1: false };
    /// The register to push into is not empty.
    pub const OVERFLOW: Self = Self { flags: Exceptions::INVALID, stack_fault: true, c1: true };

    pub fn of(env: &Env) -> Self {
        Self { flags: env.flags, stack_fault: false, c1: env.rounded_up }
    }

    fn unmasked(self, x87: &X87State) -> Exceptions {
        self.flags & !Exceptions(x87.control as u8)
    }

    /// Whether the instruction ends without touching the stack: an unmasked exception was found before computing.
    pub fn stops(self, x87: &X87State) -> bool {
        !(self.unmasked(x87) & Exceptions::PRE_COMPUTATION).is_empty()
    }

    /// The same for a result that goes to memory, which overflow and underflow also keep back (SDM 1, 8.5.4).
    pub fn stops_store(self, x87: &X87State) -> bool {
        !(self.unmasked(x87) & !Exceptions::PRECISION).is_empty()
    }
}

/// Records an instruction and its effects.
pub(super) fn settle(core: &mut Core, op: &Op, effects: Effects) {
    note(core, op);
    let unmasked = !effects.unmasked(&core.cpu.x87).is_empty();
    let x87 = &mut core.cpu.x87;
    x87.status = x87.status & !status::C1 | u16::from(effects.flags.0);
    if effects.c1 {
        x87.status |= status::C1;
    }
    if effects.stack_fault {
        x87.status |= status::SF;
    }
    if unmasked {
        x87.status |= status::ES | status::B;
        core.cpu.x87.opcode = last_opcode(core, op);
    }
}

/// The last-instruction pointers: the instruction with its prefixes, and its memory operand if it has one.
pub(super) fn note(core: &mut Core, op: &Op) {
    let start = core.cpu.rip().wrapping_sub(u64::from(op.length)) & core.cpu.ip_mask;
    if op.has(MEMORY) {
        core.cpu.x87.data_pointer = core.effective_address(op);
        core.cpu.x87.data_selector = core.cpu.seg[op.seg as usize & 7].selector;
    }
    let x87 = &mut core.cpu.x87;
    x87.instruction_pointer = start;
    x87.instruction_selector = core.cpu.seg[segment::CS].selector;
}

/// The eleven opcode bits, which only an unmasked exception records (SDM 1, 8.1.9.1): looked up in the code, behind the prefixes.
#[cold]
fn last_opcode(core: &mut Core, op: &Op) -> u16 {
    let linear = core.cpu.seg[segment::CS].base.wrapping_add(core.cpu.x87.instruction_pointer);
    let (mut first, mut found) = (0u8, false);
    for offset in 0..u64::from(op.length) {
        let at = linear.wrapping_add(offset) & core.cpu.linear_mask;
        let Some(page) = core.translate(at, AccessKind::Fetch, core.cpu.view, segment::CS as u8).ok().and_then(|it| it.ram_offset()) else {
            return 0;
        };
        let byte: u8 = core.mem.load(page + (at & 0xfff) as usize);
        if found {
            return u16::from(first & 7) << 8 | u16::from(byte);
        }
        (first, found) = (byte, byte & 0xf8 == 0xd8);
    }
    0
}

/// Computes from registers and settles. `Some` is what to store: the result, or `indefinite` after a masked stack underflow.
#[inline(always)]
pub(super) fn evaluate<R, const N: usize>(
    core: &mut Core,
    op: &Op,
    registers: [u8; N],
    indefinite: R,
    compute: impl FnOnce([F80; N], &mut Env) -> R,
) -> Option<R> {
    let x87 = &core.cpu.x87;
    let (result, effects) = if registers.iter().any(|&i| x87.is_empty(i)) {
        (indefinite, Effects::UNDERFLOW)
    } else {
        let mut env = x87.environment();
        let result = compute(registers.map(|i| x87.st(i)), &mut env);
        (result, Effects::of(&env))
    };
    let stops = effects.stops(x87);
    settle(core, op, effects);
    (!stops).then_some(result)
}

/// Reads the memory operand as bytes: 8 at a time while they last, then 4, then 2.
pub(super) fn read_bytes(core: &mut Core, op: &Op, bytes: &mut [u8]) -> Exec {
    let address = core.effective_address(op);
    let mut at = 0;
    while at < bytes.len() {
        let offset = address.wrapping_add(at as u64) & op.address_mask();
        let rest = bytes.len() - at;
        let (piece, length) = match rest {
            8.. => (core.read::<u64>(op.seg, offset)?, 8),
            4.. => (u64::from(core.read::<u32>(op.seg, offset)?), 4),
            _ => (u64::from(core.read::<u16>(op.seg, offset)?), 2),
        };
        bytes[at..at + length].copy_from_slice(&piece.to_le_bytes()[..length]);
        at += length;
    }
    Ok(())
}

/// Writes the memory operand as bytes, all or nothing; a length of 8 or less is one access.
pub(super) fn write_bytes(core: &mut Core, op: &Op, bytes: &[u8]) -> Exec {
    let address = core.effective_address(op);
    if bytes.len() > 8 {
        core.probe(op.seg, address, bytes.len())?;
    }
    let mut at = 0;
    while at < bytes.len() {
        let offset = address.wrapping_add(at as u64) & op.address_mask();
        let mut piece = [0; 8];
        let length = [8, 4, 2].into_iter().find(|&it| it <= bytes.len() - at).unwrap_or(1);
        piece[..length].copy_from_slice(&bytes[at..at + length]);
        let piece = u64::from_le_bytes(piece);
        match length {
            8 => core.write(op.seg, offset, piece)?,
            4 => core.write(op.seg, offset, piece as u32)?,
            2 => core.write(op.seg, offset, piece as u16)?,
            _ => core.write(op.seg, offset, piece as u8)?,
        }
        at += length;
    }
    Ok(())
}
