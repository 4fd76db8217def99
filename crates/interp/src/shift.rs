//! Shifts and rotates: SHL SHR SAR ROL ROR RCL RCR SHLD SHRD (SDM 2B).
//!
//! Counts are taken modulo 32 (64 for quadwords); a zero count changes nothing, flags included. OF is defined for counts of 1
//! only; the table says that other counts follow the same rule on the final result. AF is undefined; the table says 0.
//! SHLD and SHRD of words by more than 16 are undefined; the table says that the source is shifted in twice.

use cpu::{Flags, Word};
use decode::Selected;
use decode::op::prefix::MEMORY;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, bits, by_size, operand_size, sign_extend};
use crate::{Handler, Op, plain};

/// A shift or rotate by a count that is already masked and not zero.
trait Shift {
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T;
}

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => select_shift::<Shl>(instruction),
        Mnemonic::Shr => select_shift::<Shr>(instruction),
        Mnemonic::Sar => select_shift::<Sar>(instruction),
        Mnemonic::Rol => select_shift::<Rol>(instruction),
        Mnemonic::Ror => select_shift::<Ror>(instruction),
        Mnemonic::Rcl => select_shift::<Rcl>(instruction),
        Mnemonic::Rcr => select_shift::<Rcr>(instruction),
        Mnemonic::Shld => select_double::<true>(instruction),
        Mnemonic::Shrd => select_double::<false>(instruction),
        _ => return None,
    })
}

fn select_shift<S: Shift>(instruction: &Instruction) -> Selected<Handler> {
    let size = operand_size(instruction);
    let by_cl = instruction.op1_kind() == OpKind::Register && instruction.op1_register() == Register::CL;
    plain(match (by_cl, instruction.op0_kind()) {
        (true, OpKind::Register) => by_size!(size, shift_r_cl, S),
        (true, _) => by_size!(size, shift_m_cl, S),
        (false, OpKind::Register) => by_size!(size, shift_r_imm, S),
        (false, _) => by_size!(size, shift_m_imm, S),
    })
}

#[inline(always)]
fn masked<T: Word>(count: u64) -> u32 {
    count as u32 & if T::SIZE == 8 { 63 } else { 31 }
}

#[inline(always)]
fn shift_register<T: Gpr, S: Shift>(core: &mut Core, op: &Op, count: u32) -> Exec {
    let a = T::get(&core.cpu, op.dst);
    // A zero count still writes a 32-bit register, which clears its upper half.
    let result = if count == 0 { a } else { S::apply(&mut core.cpu.flags, a, count) };
    T::set(&mut core.cpu, op.dst, result);
    Ok(())
}

fn shift_r_cl<T: Gpr, S: Shift>(core: &mut Core, op: &Op) -> Exec {
    let count = masked::<T>(core.cpu.regs[1]);
    shift_register::<T, S>(core, op, count)
}

fn shift_r_imm<T: Gpr, S: Shift>(core: &mut Core, op: &Op) -> Exec {
    shift_register::<T, S>(core, op, masked::<T>(op.imm))
}

#[inline(always)]
fn shift_memory<T: Gpr, S: Shift>(core: &mut Core, op: &Op, count: u32) -> Exec {
    core.update_operand::<T>(op, |core, a| if count == 0 { a } else { S::apply(&mut core.cpu.flags, a, count) })
}

fn shift_m_cl<T: Gpr, S: Shift>(core: &mut Core, op: &Op) -> Exec {
    let count = masked::<T>(core.cpu.regs[1]);
    shift_memory::<T, S>(core, op, count)
}

fn shift_m_imm<T: Gpr, S: Shift>(core: &mut Core, op: &Op) -> Exec {
    shift_memory::<T, S>(core, op, masked::<T>(op.imm))
}

/// The top bit.
#[inline(always)]
fn sign<T: Word>(value: T) -> bool {
    value.u64() >> (bits::<T>() - 1) & 1 != 0
}

struct Shl;
impl Shift for Shl {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        // Counts may exceed the width of bytes and words, so one bit more than a quadword is kept.
        let wide = u128::from(a.u64()) << count;
        let result = T::of(wide as u64);
        let cf = wide >> bits::<T>() & 1 != 0;
        flags.result_with(result, cf, sign(result) != cf, false);
        result
    }
}

struct Shr;
impl Shift for Shr {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let cf = a.u64() >> (count - 1) & 1 != 0;
        let result = T::of(a.u64() >> (count - 1) >> 1);
        // For a count of 1, OF is the operand's sign: the two top bits of the result differ from it alike.
        let of = (result.u64() << 1 ^ result.u64()) >> (bits::<T>() - 1) & 1 != 0;
        flags.result_with(result, cf, of, false);
        result
    }
}

struct Sar;
impl Shift for Sar {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let wide = sign_extend(a) as i64;
        let cf = wide >> (count - 1) & 1 != 0;
        let result = T::of((wide >> (count - 1) >> 1) as u64);
        flags.result_with(result, cf, false, false);
        result
    }
}

/// Rotates `a` left by `count` modulo the width.
#[inline(always)]
fn rotate_left<T: Word>(a: T, count: u32) -> T {
    let width = bits::<T>();
    let count = count % width;
    if count == 0 {
        return a;
    }
    T::of(a.u64() << count | a.u64() >> (width - count))
}

struct Rol;
impl Shift for Rol {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let result = rotate_left(a, count);
        let cf = result.u64() & 1 != 0;
        flags.set_cf_of(cf, sign(result) != cf);
        result
    }
}

struct Ror;
impl Shift for Ror {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let width = bits::<T>();
        let result = rotate_left(a, width - count % width);
        let cf = sign(result);
        let next = result.u64() >> (width - 2) & 1 != 0;
        flags.set_cf_of(cf, cf != next);
        result
    }
}

struct Rcl;
impl Shift for Rcl {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let width = bits::<T>();
        let count = count % (width + 1);
        if count == 0 {
            flags.set_cf_of(flags.cf(), sign(a) != flags.cf());
            return a;
        }
        // The operand with CF above it is a value of width + 1 bits.
        let value = u128::from(flags.cf()) << width | u128::from(a.u64());
        let rotated = value << count | value >> (width + 1 - count);
        let result = T::of(rotated as u64);
        let cf = rotated >> width & 1 != 0;
        flags.set_cf_of(cf, sign(result) != cf);
        result
    }
}

struct Rcr;
impl Shift for Rcr {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, count: u32) -> T {
        let width = bits::<T>();
        let count = count % (width + 1);
        if count == 0 {
            let of = (a.u64() << 1 ^ a.u64()) >> (width - 1) & 1 != 0;
            flags.set_cf_of(flags.cf(), of);
            return a;
        }
        let value = u128::from(flags.cf()) << width | u128::from(a.u64());
        let rotated = value >> count | value << (width + 1 - count);
        let result = T::of(rotated as u64);
        let cf = rotated >> width & 1 != 0;
        let of = (result.u64() << 1 ^ result.u64()) >> (width - 1) & 1 != 0;
        flags.set_cf_of(cf, of);
        result
    }
}

fn select_double<const LEFT: bool>(instruction: &Instruction) -> Selected<Handler> {
    let by_cl = instruction.op2_kind() == OpKind::Register;
    plain(match (operand_size(instruction), by_cl) {
        (2, true) => double_cl::<u16, LEFT>,
        (4, true) => double_cl::<u32, LEFT>,
        (_, true) => double_cl::<u64, LEFT>,
        (2, false) => double_imm::<u16, LEFT>,
        (4, false) => double_imm::<u32, LEFT>,
        (_, false) => double_imm::<u64, LEFT>,
    })
}

fn double_cl<T: Gpr, const LEFT: bool>(core: &mut Core, op: &Op) -> Exec {
    let count = masked::<T>(core.cpu.regs[1]);
    double::<T, LEFT>(core, op, count)
}

fn double_imm<T: Gpr, const LEFT: bool>(core: &mut Core, op: &Op) -> Exec {
    double::<T, LEFT>(core, op, masked::<T>(op.imm))
}

/// SHLD and SHRD: the destination shifted, filled from the source register.
fn double<T: Gpr, const LEFT: bool>(core: &mut Core, op: &Op, count: u32) -> Exec {
    if op.has(MEMORY) {
        let fill = T::get(&core.cpu, op.dst);
        return core.update_operand::<T>(op, |core, a| double_shift::<T, LEFT>(&mut core.cpu.flags, a, fill, count));
    }
    let (a, fill) = (T::get(&core.cpu, op.dst), T::get(&core.cpu, op.src));
    let result = double_shift::<T, LEFT>(&mut core.cpu.flags, a, fill, count);
    T::set(&mut core.cpu, op.dst, result);
    Ok(())
}

fn double_shift<T: Gpr, const LEFT: bool>(flags: &mut Flags, a: T, fill: T, count: u32) -> T {
    if count == 0 {
        return a;
    }
    let width = bits::<T>();
    let (a_wide, fill_wide) = (u128::from(a.u64()), u128::from(fill.u64()));
    // Words may be shifted by up to 31: the source follows twice, so that the bits stay defined by the table.
    let (result, cf) = if LEFT {
        let joined = if width == 16 { a_wide << 32 | fill_wide << 16 | fill_wide } else { a_wide << width | fill_wide };
        let top = if width == 16 { 48 } else { 2 * width };
        (T::of((joined << count >> (top - width)) as u64), joined >> (top - count) & 1 != 0)
    } else {
        let joined = if width == 16 { fill_wide << 32 | fill_wide << 16 | a_wide } else { fill_wide << width | a_wide };
        (T::of((joined >> count) as u64), joined >> (count - 1) & 1 != 0)
    };
    flags.result_with(result, cf, sign(result) != sign(a), false);
    result
}
