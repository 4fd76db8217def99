//! Lanes made narrower with saturation, and wider (SDM 1, 9.4.4, 12.10).

use super::lanes::{Lane, build, count, split};
use super::operation::{combine, operations};
use super::vector::Vector;

operations! { select:
    combine mmx_or_xmm {
        Packsswb = |a, b, _| pack(a, b, |word: i16| word.clamp(i16::from(i8::MIN), i16::from(i8::MAX)) as i8);
        Packuswb = |a, b, _| pack(a, b, |word: i16| word.clamp(0, i16::from(u8::MAX)) as u8);
        Packssdw = |a, b, _| pack(a, b, |dword: i32| dword.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16);
    }
    combine xmm {
        Packusdw = |a, b, _| pack(a, b, |dword: i32| dword.clamp(0, i32::from(u16::MAX)) as u16);
    }
    combine xmm_m64 {
        Pmovsxbw = |_, b, _| widen::<i8, i16>(b);
        Pmovsxwd = |_, b, _| widen::<i16, i32>(b);
        Pmovsxdq = |_, b, _| widen::<i32, i64>(b);
        Pmovzxbw = |_, b, _| widen::<u8, u16>(b);
        Pmovzxwd = |_, b, _| widen::<u16, u32>(b);
        Pmovzxdq = |_, b, _| widen::<u32, u64>(b);
    }
    combine xmm_m32 {
        Pmovsxbd = |_, b, _| widen::<i8, i32>(b);
        Pmovsxwq = |_, b, _| widen::<i16, i64>(b);
        Pmovzxbd = |_, b, _| widen::<u8, u32>(b);
        Pmovzxwq = |_, b, _| widen::<u16, u64>(b);
    }
    combine xmm_m16 {
        Pmovsxbq = |_, b, _| widen::<i8, i64>(b);
        Pmovzxbq = |_, b, _| widen::<u8, u64>(b);
    }
}

/// The lanes of `a`, then of `b`, each made narrower.
#[inline(always)]
fn pack<From: Lane, To: Lane, V: Vector>(a: V, b: V, narrower: impl Fn(From) -> To) -> V {
    let half = count::<From, V>();
    let (a, b) = (split::<From, V>(a), split::<From, V>(b));
    build(|index| narrower(if index < half { a[index] } else { b[index - half] }))
}

/// The lowest lanes, each extended as its type says.
#[inline(always)]
fn widen<From: Lane, To: Lane + std::convert::From<From>>(b: u128) -> u128 {
    let b = split::<From, u128>(b);
    build(|index| To::from(b[index]))
}
