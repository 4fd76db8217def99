//! Floating-point comparison: into masks (CMPPS, ...) and into flags (COMISS, UCOMISS, ...) (SDM 1, 10.4.3, 11.4.1.2).

use cpu::flags::bit;
use softfloat::{Env, F32, F64, Float, Ordering4};

use super::float::{packed, scalar};
use super::lanes::{Lane, split};
use super::operation::{compute, operations, with_env};
use super::vector::{Source, Vector};
use crate::Op;
use crate::core::{Core, Exec};

operations! { select:
    compute xmm {
        Cmpps = |a, b, predicate, env| packed(a, b, env, |a: F32, b, env| F32(if holds(predicate, a, b, env) { u32::MAX } else { 0 }));
        Cmppd = |a, b, predicate, env| packed(a, b, env, |a: F64, b, env| F64(if holds(predicate, a, b, env) { u64::MAX } else { 0 }));
    }
    compute xmm_m32 {
        Cmpss = |a, b, predicate, env| scalar(a, b, env, |a: F32, b, env| F32(if holds(predicate, a, b, env) { u32::MAX } else { 0 }));
    }
    compute xmm_m64 {
        Cmpsd = |a, b, predicate, env| scalar(a, b, env, |a: F64, b, env| F64(if holds(predicate, a, b, env) { u64::MAX } else { 0 }));
    }
    set_flags xmm_m32 {
        Comiss = |a, b, env| order::<F32>(a, b, env, false);
        Ucomiss = |a, b, env| order::<F32>(a, b, env, true);
    }
    set_flags xmm_m64 {
        Comisd = |a, b, env| order::<F64>(a, b, env, false);
        Ucomisd = |a, b, env| order::<F64>(a, b, env, true);
    }
}

/// The predicates of CMPPS (SDM 2A, table 3-1): 0 equal, 1 less, 2 less or equal, 3 unordered, and from 4 on their negations. The two that ask
/// for an order find any NaN invalid. Bits 7:3 are ignored without VEX.
#[inline(always)]
fn holds<F: Float>(predicate: u8, a: F, b: F, env: &mut Env) -> bool {
    let order = a.compare(b, env, matches!(predicate & 3, 0 | 3));
    let plain = match predicate & 3 {
        0 => order == Ordering4::Equal,
        1 => order == Ordering4::Less,
        2 => matches!(order, Ordering4::Less | Ordering4::Equal),
        _ => order == Ordering4::Unordered,
    };
    plain != (predicate & 4 != 0)
}

#[inline(always)]
fn order<F: Lane + Float>(a: u128, b: u128, env: &mut Env, quiet: bool) -> Ordering4 {
    split::<F, u128>(a)[0].compare(split::<F, u128>(b)[0], env, quiet)
}

/// Sets ZF, PF and CF as the comparison says and clears the other arithmetic flags.
#[inline(always)]
fn set_flags<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, V, &mut Env) -> Ordering4) -> Exec {
    V::enter(core)?;
    let b = S::read(core, op)?;
    let a = V::get(core, op.dst);
    let order = with_env(core, |env| f(a, b, env))?;
    core.cpu.flags.set_arith(match order {
        Ordering4::Greater => 0,
        Ordering4::Less => bit::CF,
        Ordering4::Equal => bit::ZF,
        Ordering4::Unordered => bit::ZF | bit::PF | bit::CF,
    });
    Ok(())
}
