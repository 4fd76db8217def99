//! Integer addition and subtraction: ADD ADC SUB SBB CMP INC DEC NEG (SDM 2A, 2B), and the BCD adjustments of
//! 16- and 32-bit code. Multiplication and division are in `muldiv`.

use cpu::{Flags, Word};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::Handler;
use crate::operand::{Binary, Unary, select_binary, select_unary};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Add => select_binary::<Add>(instruction),
        Mnemonic::Adc => select_binary::<Adc>(instruction),
        Mnemonic::Sub => select_binary::<Sub>(instruction),
        Mnemonic::Sbb => select_binary::<Sbb>(instruction),
        Mnemonic::Cmp => select_binary::<Cmp>(instruction),
        Mnemonic::Inc => select_unary::<Inc>(instruction),
        Mnemonic::Dec => select_unary::<Dec>(instruction),
        Mnemonic::Neg => select_unary::<Neg>(instruction),
        _ => return None,
    })
}

/// Carries out of every bit of `a + b (+ carry)`, given the result.
#[inline(always)]
fn add_carries<T: Word>(a: T, b: T, result: T) -> T {
    let (a, b, result) = (a.u64(), b.u64(), result.u64());
    T::of(a & b | (a | b) & !result)
}

/// Borrows out of every bit of `a - b (- borrow)`, given the result.
#[inline(always)]
fn sub_borrows<T: Word>(a: T, b: T, result: T) -> T {
    let (a, b, result) = (a.u64(), b.u64(), result.u64());
    T::of(!a & b | (!a | b) & result)
}

#[inline(always)]
pub(crate) fn add<T: Word>(flags: &mut Flags, a: T, b: T, carry: u64) -> T {
    let result = T::of(a.u64().wrapping_add(b.u64()).wrapping_add(carry));
    flags.carried(result, add_carries(a, b, result));
    result
}

#[inline(always)]
pub(crate) fn sub<T: Word>(flags: &mut Flags, a: T, b: T, borrow: u64) -> T {
    let result = T::of(a.u64().wrapping_sub(b.u64()).wrapping_sub(borrow));
    flags.carried(result, sub_borrows(a, b, result));
    result
}

struct Add;
impl Binary for Add {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        add(flags, a, b, 0)
    }
}

struct Adc;
impl Binary for Adc {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        let carry = u64::from(flags.cf());
        add(flags, a, b, carry)
    }
}

struct Sub;
impl Binary for Sub {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        sub(flags, a, b, 0)
    }
}

struct Sbb;
impl Binary for Sbb {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        let borrow = u64::from(flags.cf());
        sub(flags, a, b, borrow)
    }
}

struct Cmp;
impl Binary for Cmp {
    const WRITES: bool = false;
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        sub(flags, a, b, 0)
    }
}

struct Inc;
impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T) -> T {
        let result = T::of(a.u64().wrapping_add(1));
        flags.carried_but_cf(result, add_carries(a, T::of(1), result));
        result
    }
}

struct Dec;
impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T) -> T {
        let result = T::of(a.u64().wrapping_sub(1));
        flags.carried_but_cf(result, sub_borrows(a, T::of(1), result));
        result
    }
}

struct Neg;
impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T) -> T {
        sub(flags, T::of(0), a, 0)
    }
}
