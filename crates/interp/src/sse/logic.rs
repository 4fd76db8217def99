//! Bitwise logic and PTEST (SDM 1, 9.4.6, 10.4.2, 12.10).

use cpu::flags::bit;

use super::operation::{combine, operations};
use super::vector::{Source, Vector};
use crate::Op;
use crate::core::{Core, Exec};

operations! { select:
    combine mmx_or_xmm {
        Pand = |a, b, _| and(a, b);
        Pandn = |a, b, _| and_not(a, b);
        Por = |a, b, _| or(a, b);
        Pxor = |a, b, _| xor(a, b);
    }
    combine xmm {
        Andps = |a, b, _| and(a, b);
        Andpd = |a, b, _| and(a, b);
        Andnps = |a, b, _| and_not(a, b);
        Andnpd = |a, b, _| and_not(a, b);
        Orps = |a, b, _| or(a, b);
        Orpd = |a, b, _| or(a, b);
        Xorps = |a, b, _| xor(a, b);
        Xorpd = |a, b, _| xor(a, b);
    }
    test xmm {
        Ptest = |a, b| (a & b == 0, !a & b == 0);
    }
}

#[inline(always)]
fn and<V: Vector>(a: V, b: V) -> V {
    V::narrow(a.wide() & b.wide())
}

#[inline(always)]
fn and_not<V: Vector>(a: V, b: V) -> V {
    V::narrow(!a.wide() & b.wide())
}

#[inline(always)]
fn or<V: Vector>(a: V, b: V) -> V {
    V::narrow(a.wide() | b.wide())
}

#[inline(always)]
fn xor<V: Vector>(a: V, b: V) -> V {
    V::narrow(a.wide() ^ b.wide())
}

/// (ZF, CF) = f(first, second); the other arithmetic flags are cleared.
#[inline(always)]
fn test<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, V) -> (bool, bool)) -> Exec {
    V::enter(core)?;
    let b = S::read(core, op)?;
    let (zf, cf) = f(V::get(core, op.dst), b);
    core.cpu.flags.set_arith(if zf { bit::ZF } else { 0 } | if cf { bit::CF } else { 0 });
    Ok(())
}
