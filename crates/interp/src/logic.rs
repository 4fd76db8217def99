//! AND OR XOR TEST NOT (SDM 2A, 2B). AF after the flag-setting ones is undefined; the table says 0.

use cpu::{Flags, Word};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::Handler;
use crate::operand::{Binary, Unary, select_binary, select_unary};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::And => select_binary::<And>(instruction),
        Mnemonic::Or => select_binary::<Or>(instruction),
        Mnemonic::Xor => select_binary::<Xor>(instruction),
        Mnemonic::Test => select_binary::<Test>(instruction),
        Mnemonic::Not => select_unary::<Not>(instruction),
        _ => return None,
    })
}

struct And;
impl Binary for And {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        let result = T::of(a.u64() & b.u64());
        flags.logic(result);
        result
    }
}

struct Or;
impl Binary for Or {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        let result = T::of(a.u64() | b.u64());
        flags.logic(result);
        result
    }
}

struct Xor;
impl Binary for Xor {
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        let result = T::of(a.u64() ^ b.u64());
        flags.logic(result);
        result
    }
}

struct Test;
impl Binary for Test {
    const WRITES: bool = false;
    #[inline(always)]
    fn apply<T: Word>(flags: &mut Flags, a: T, b: T) -> T {
        And::apply(flags, a, b)
    }
}

struct Not;
impl Unary for Not {
    #[inline(always)]
    fn apply<T: Word>(_: &mut Flags, a: T) -> T {
        T::of(!a.u64())
    }
}
