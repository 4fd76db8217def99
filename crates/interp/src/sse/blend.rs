//! Blends by immediate and by the signs of XMM0 (SDM 1, 12.10.5).

use super::lanes::{Lane, build, split};
use super::operation::{combine, operations};
use super::vector::{Source, Vector};
use crate::Op;
use crate::core::{Core, Exec};

operations! { select:
    combine xmm {
        Pblendw = |a, b, mask| blend::<u16>(a, b, |index| mask >> index & 1 != 0);
        Blendps = |a, b, mask| blend::<u32>(a, b, |index| mask >> index & 1 != 0);
        Blendpd = |a, b, mask| blend::<u64>(a, b, |index| mask >> index & 1 != 0);
    }
    by_xmm0 xmm {
        Pblendvb = |a, b, mask| blend::<u8>(a, b, |index| mask >> (8 * index + 7) & 1 != 0);
        Blendvps = |a, b, mask| blend::<u32>(a, b, |index| mask >> (32 * index + 31) & 1 != 0);
        Blendvpd = |a, b, mask| blend::<u64>(a, b, |index| mask >> (64 * index + 63) & 1 != 0);
    }
}

/// Lanes of `b` where `take` says so, else of `a`.
#[inline(always)]
fn blend<L: Lane>(a: u128, b: u128, take: impl Fn(usize) -> bool) -> u128 {
    let (a, b) = (split::<L, u128>(a), split::<L, u128>(b));
    build(|index| if take(index) { b[index] } else { a[index] })
}

/// destination = f(destination, source, XMM0).
#[inline(always)]
fn by_xmm0<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, V, u128) -> V) -> Exec {
    let mask = core.cpu.xmm[0];
    combine::<V, S>(core, op, |a, b, _| f(a, b, mask))
}
