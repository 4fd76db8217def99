//! Operand forms: general registers of every width, and handlers generic over "operation" and "where its operands are".

use cpu::{Cpu, Flags, Word};
use decode::{HIGH_BYTE, Selected};
use iced_x86::{Instruction, OpKind};

use crate::core::{Core, Exec};
use crate::{Handler, Op, plain};

/// A word that a general register holds. 8- and 16-bit writes merge, 32-bit writes clear the upper half.
pub trait Gpr: Word {
    /// Reads register `number` (see [`decode::op`] for the numbering).
    fn get(cpu: &Cpu, number: u8) -> Self;
    /// Writes register `number`.
    fn set(cpu: &mut Cpu, number: u8, value: Self);
}

impl Gpr for u8 {
    #[inline(always)]
    fn get(cpu: &Cpu, number: u8) -> u8 {
        (cpu.regs[number as usize & 15] >> ((number & HIGH_BYTE) >> 1)) as u8
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, number: u8, value: u8) {
        let shift = (number & HIGH_BYTE) >> 1;
        let register = &mut cpu.regs[number as usize & 15];
        *register = *register & !(0xff << shift) | u64::from(value) << shift;
    }
}

impl Gpr for u16 {
    #[inline(always)]
    fn get(cpu: &Cpu, number: u8) -> u16 {
        cpu.regs[number as usize & 31] as u16
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, number: u8, value: u16) {
        let register = &mut cpu.regs[number as usize & 31];
        *register = *register & !0xffff | u64::from(value);
    }
}

impl Gpr for u32 {
    #[inline(always)]
    fn get(cpu: &Cpu, number: u8) -> u32 {
        cpu.regs[number as usize & 31] as u32
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, number: u8, value: u32) {
        cpu.regs[number as usize & 31] = u64::from(value);
    }
}

impl Gpr for u64 {
    #[inline(always)]
    fn get(cpu: &Cpu, number: u8) -> u64 {
        cpu.regs[number as usize & 31]
    }
    #[inline(always)]
    fn set(cpu: &mut Cpu, number: u8, value: u64) {
        cpu.regs[number as usize & 31] = value;
    }
}

/// Bits of a word.
pub fn bits<T: Word>() -> u32 {
    T::SIZE as u32 * 8
}

/// The value sign-extended to 64 bits.
#[inline(always)]
pub fn sign_extend<T: Word>(value: T) -> u64 {
    let shift = 64 - bits::<T>();
    ((value.u64() << shift) as i64 >> shift) as u64
}

/// An operation on two words that sets flags: `a` is the destination operand.
pub trait Binary {
    /// False for CMP and TEST, which only set flags.
    const WRITES: bool = true;
    /// The result; sets the flags.
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T;
}

/// An operation on one word.
pub trait Unary {
    /// The result; sets the flags.
    fn apply<T: Word>(flags: &mut Flags, a: T) -> T;
}

/// Size of an instruction's operand 0 in bytes; of operand 1 where operand 0 is memory of no size.
pub fn operand_size(instruction: &Instruction) -> usize {
    match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size(),
        OpKind::Memory => instruction.memory_size().size(),
        _ => instruction.op1_register().size(),
    }
}

/// Instantiates a handler generic over one word type for a size of 1, 2, 4 or 8 bytes.
macro_rules! by_size {
    ($size:expr, $f:ident $(, $extra:ty)*) => {
        match $size {
            1 => $f::<u8 $(, $extra)*> as fn(&mut $crate::Core, &$crate::Op) -> $crate::Exec,
            2 => $f::<u16 $(, $extra)*>,
            4 => $f::<u32 $(, $extra)*>,
            _ => $f::<u64 $(, $extra)*>,
        }
    };
}

/// As [`by_size`], without bytes.
macro_rules! by_width {
    ($size:expr, $f:ident) => {
        match $size {
            2 => $f::<u16> as fn(&mut $crate::Core, &$crate::Op) -> $crate::Exec,
            4 => $f::<u32>,
            _ => $f::<u64>,
        }
    };
}

pub(crate) use {by_size, by_width};

/// The handler of a two-operand integer instruction, by operand kinds and size.
pub fn select_binary<B: Binary + 'static>(instruction: &Instruction) -> Selected<Handler> {
    let size = operand_size(instruction);
    let handler = match (instruction.op0_kind(), instruction.op1_kind()) {
        (OpKind::Register, OpKind::Register) => by_size!(size, binary_rr, B),
        (OpKind::Register, OpKind::Memory) => by_size!(size, binary_rm, B),
        (OpKind::Register, _) => by_size!(size, binary_ri, B),
        (_, OpKind::Register) => by_size!(size, binary_mr, B),
        _ => by_size!(size, binary_mi, B),
    };
    plain(handler)
}

fn binary_rr<T: Gpr, B: Binary>(core: &mut Core, op: &Op) -> Exec {
    let (a, b) = (T::get(&core.cpu, op.dst), T::get(&core.cpu, op.src));
    let result = B::apply(&mut core.cpu.flags, a, b);
    if B::WRITES {
        T::set(&mut core.cpu, op.dst, result);
    }
    Ok(())
}

fn binary_ri<T: Gpr, B: Binary>(core: &mut Core, op: &Op) -> Exec {
    let a = T::get(&core.cpu, op.dst);
    let result = B::apply(&mut core.cpu.flags, a, T::of(op.imm));
    if B::WRITES {
        T::set(&mut core.cpu, op.dst, result);
    }
    Ok(())
}

fn binary_rm<T: Gpr, B: Binary>(core: &mut Core, op: &Op) -> Exec {
    let b = core.read_operand::<T>(op)?;
    let a = T::get(&core.cpu, op.dst);
    let result = B::apply(&mut core.cpu.flags, a, b);
    if B::WRITES {
        T::set(&mut core.cpu, op.dst, result);
    }
    Ok(())
}

/// The one register of a memory-destination form is `dst`: it is the first register operand.
fn binary_mr<T: Gpr, B: Binary>(core: &mut Core, op: &Op) -> Exec {
    let b = T::get(&core.cpu, op.dst);
    binary_memory::<T, B>(core, op, b)
}

fn binary_mi<T: Gpr, B: Binary>(core: &mut Core, op: &Op) -> Exec {
    binary_memory::<T, B>(core, op, T::of(op.imm))
}

#[inline(always)]
fn binary_memory<T: Gpr, B: Binary>(core: &mut Core, op: &Op, b: T) -> Exec {
    if B::WRITES {
        return core.update_operand::<T>(op, |core, a| B::apply(&mut core.cpu.flags, a, b));
    }
    let a = core.read_operand::<T>(op)?;
    B::apply(&mut core.cpu.flags, a, b);
    Ok(())
}

/// The handler of a one-operand read-modify-write instruction.
pub fn select_unary<U: Unary + 'static>(instruction: &Instruction) -> Selected<Handler> {
    let size = operand_size(instruction);
    plain(match instruction.op0_kind() {
        OpKind::Register => by_size!(size, unary_r, U),
        _ => by_size!(size, unary_m, U),
    })
}

fn unary_r<T: Gpr, U: Unary>(core: &mut Core, op: &Op) -> Exec {
    let a = T::get(&core.cpu, op.dst);
    let result = U::apply(&mut core.cpu.flags, a);
    T::set(&mut core.cpu, op.dst, result);
    Ok(())
}

fn unary_m<T: Gpr, U: Unary>(core: &mut Core, op: &Op) -> Exec {
    core.update_operand::<T>(op, |core, a| U::apply(&mut core.cpu.flags, a))
}

/// The value of a source operand that is a register (`number`) or the memory operand.
#[inline(always)]
pub fn source<T: Gpr>(core: &mut Core, op: &Op, number: u8) -> Exec<T> {
    if op.has(decode::op::prefix::MEMORY) { core.read_operand(op) } else { Ok(T::get(&core.cpu, number)) }
}

/// Writes a destination operand that is register `dst` or the memory operand.
#[inline(always)]
pub fn write_destination<T: Gpr>(core: &mut Core, op: &Op, value: T) -> Exec {
    if op.has(decode::op::prefix::MEMORY) {
        core.write_operand(op, value)
    } else {
        T::set(&mut core.cpu, op.dst, value);
        Ok(())
    }
}
