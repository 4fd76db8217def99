//! MUL IMUL DIV IDIV and the decimal adjustments AAA AAS AAM AAD DAA DAS (SDM 2A).
//!
//! After multiplication SF, ZF, AF and PF are undefined: the table says they follow the low half of the product, AF 0.
//! After division all are undefined: the table says that they keep their values.

use cpu::flags::bit;
use cpu::{Fault, Word};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, bits, by_size, operand_size, sign_extend, source};
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let size = operand_size(instruction);
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Mul => by_size!(size, mul),
        Mnemonic::Imul => match instruction.op_count() {
            1 => by_size!(size, imul1),
            2 => by_size!(size, imul2),
            _ => by_size!(size, imul3),
        },
        Mnemonic::Div => by_size!(size, div),
        Mnemonic::Idiv => by_size!(size, idiv),
        Mnemonic::Aaa => aaa,
        Mnemonic::Aas => aas,
        Mnemonic::Aam => aam,
        Mnemonic::Aad => aad,
        Mnemonic::Daa => daa,
        Mnemonic::Das => das,
        _ => return None,
    }))
}

const RAX: u8 = 0;
const RDX: u8 = 2;

/// Writes a double-width result to AX, or to rDX:rAX.
#[inline(always)]
fn set_pair<T: Gpr>(core: &mut Core, low: T, high: T) {
    if T::SIZE == 1 {
        u16::set(&mut core.cpu, RAX, (low.u64() | high.u64() << 8) as u16);
    } else {
        T::set(&mut core.cpu, RAX, low);
        T::set(&mut core.cpu, RDX, high);
    }
}

/// AX, or rDX:rAX, as one value.
#[inline(always)]
fn pair<T: Gpr>(core: &Core) -> u128 {
    if T::SIZE == 1 {
        return u128::from(u16::get(&core.cpu, RAX));
    }
    u128::from(T::get(&core.cpu, RDX).u64()) << bits::<T>() | u128::from(T::get(&core.cpu, RAX).u64())
}

fn mul<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let b = source::<T>(core, op, op.dst)?;
    let product = u128::from(T::get(&core.cpu, RAX).u64()) * u128::from(b.u64());
    let (low, high) = (T::of(product as u64), T::of((product >> bits::<T>()) as u64));
    set_pair(core, low, high);
    let overflow = high.u64() != 0;
    core.cpu.flags.result_with(low, overflow, overflow, false);
    Ok(())
}

#[inline(always)]
fn signed<T: Word>(value: T) -> i128 {
    i128::from(sign_extend(value) as i64)
}

fn imul1<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let b = source::<T>(core, op, op.dst)?;
    let product = signed(T::get(&core.cpu, RAX)) * signed(b);
    let (low, high) = (T::of(product as u64), T::of((product >> bits::<T>()) as u64));
    set_pair(core, low, high);
    let overflow = signed(low) != product;
    core.cpu.flags.result_with(low, overflow, overflow, false);
    Ok(())
}

#[inline(always)]
fn imul_to<T: Gpr>(core: &mut Core, dst: u8, a: T, b: T) -> Exec {
    let product = signed(a) * signed(b);
    let low = T::of(product as u64);
    T::set(&mut core.cpu, dst, low);
    let overflow = signed(low) != product;
    core.cpu.flags.result_with(low, overflow, overflow, false);
    Ok(())
}

fn imul2<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let b = source::<T>(core, op, op.src)?;
    let a = T::get(&core.cpu, op.dst);
    imul_to(core, op.dst, a, b)
}

fn imul3<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let a = source::<T>(core, op, op.src)?;
    imul_to(core, op.dst, a, T::of(op.imm))
}

fn div<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let divisor = source::<T>(core, op, op.dst)?.u64();
    let dividend = pair::<T>(core);
    if divisor == 0 || (dividend >> bits::<T>()) as u64 >= divisor {
        return Err(core.raise(Fault::DE));
    }
    // The common case fits in 64 bits, where the host divides much faster.
    let (quotient, remainder) = match u64::try_from(dividend) {
        Ok(dividend) => (dividend / divisor, dividend % divisor),
        Err(_) => ((dividend / u128::from(divisor)) as u64, (dividend % u128::from(divisor)) as u64),
    };
    set_pair(core, T::of(quotient), T::of(remainder));
    Ok(())
}

fn idiv<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let divisor = signed(source::<T>(core, op, op.dst)?);
    let width = 2 * bits::<T>();
    let dividend = (pair::<T>(core) << (128 - width)) as i128 >> (128 - width);
    // The quotient of the most negative dividend by -1 does not fit 128 bits either.
    let Some(quotient) = dividend.checked_div(divisor) else { return Err(core.raise(Fault::DE)) };
    if signed(T::of(quotient as u64)) != quotient {
        return Err(core.raise(Fault::DE));
    }
    let remainder = dividend - quotient * divisor;
    set_pair(core, T::of(quotient as u64), T::of(remainder as u64));
    Ok(())
}

fn set_decimal_flags(core: &mut Core, al: u8, cf: bool, af: bool) {
    core.cpu.flags.result_with(al, cf, false, af);
}

fn aaa(core: &mut Core, _: &Op) -> Exec {
    let ax = u16::get(&core.cpu, RAX);
    let adjust = ax & 0xf > 9 || core.cpu.flags.af();
    let result = if adjust { ax.wrapping_add(0x106) } else { ax } & 0xff0f;
    u16::set(&mut core.cpu, RAX, result);
    set_decimal_flags(core, result as u8, adjust, adjust);
    Ok(())
}

fn aas(core: &mut Core, _: &Op) -> Exec {
    let ax = u16::get(&core.cpu, RAX);
    let adjust = ax & 0xf > 9 || core.cpu.flags.af();
    let result = if adjust { ax.wrapping_sub(0x106) } else { ax } & 0xff0f;
    u16::set(&mut core.cpu, RAX, result);
    set_decimal_flags(core, result as u8, adjust, adjust);
    Ok(())
}

fn aam(core: &mut Core, op: &Op) -> Exec {
    let base = op.imm as u8;
    if base == 0 {
        return Err(core.raise(Fault::DE));
    }
    let al = u8::get(&core.cpu, RAX);
    u16::set(&mut core.cpu, RAX, u16::from(al / base) << 8 | u16::from(al % base));
    core.cpu.flags.logic(al % base);
    Ok(())
}

fn aad(core: &mut Core, op: &Op) -> Exec {
    let ax = u16::get(&core.cpu, RAX);
    let al = (ax as u8).wrapping_add(((ax >> 8) as u8).wrapping_mul(op.imm as u8));
    u16::set(&mut core.cpu, RAX, u16::from(al));
    core.cpu.flags.logic(al);
    Ok(())
}

fn daa(core: &mut Core, _: &Op) -> Exec {
    decimal_adjust(core, u8::wrapping_add)
}

fn das(core: &mut Core, _: &Op) -> Exec {
    decimal_adjust(core, u8::wrapping_sub)
}

/// DAA and DAS: the same conditions, one adds and the other subtracts.
fn decimal_adjust(core: &mut Core, adjust: fn(u8, u8) -> u8) -> Exec {
    let old = u8::get(&core.cpu, RAX);
    let flags = core.cpu.flags.arith();
    let (low, high) = (old & 0xf > 9 || flags & bit::AF != 0, old > 0x99 || flags & bit::CF != 0);
    let mut al = old;
    let mut cf = high;
    if low {
        al = adjust(al, 6);
        // DAS: a borrow out of the low correction is a carry as well (SDM 2A, DAS).
        cf |= adjust(0, 1) == u8::MAX && old < 6;
    }
    if high {
        al = adjust(al, 0x60);
    }
    u8::set(&mut core.cpu, RAX, al);
    set_decimal_flags(core, al, cf, low);
    Ok(())
}
