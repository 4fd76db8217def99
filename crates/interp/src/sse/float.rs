//! Floating-point arithmetic, packed and scalar (SDM 1, 10.4.1.2, 11.4.1.2, 12.3, 12.10). The arithmetic itself is `softfloat`'s.

use softfloat::{Env, F32, F64, Float, Rounding};

use super::lanes::{Lane, build, count, each, map, split, with_low};
use super::operation::{compute, operations};

operations! { select:
    compute xmm {
        Addps = |a, b, _, env| packed(a, b, env, F32::add);
        Addpd = |a, b, _, env| packed(a, b, env, F64::add);
        Subps = |a, b, _, env| packed(a, b, env, F32::sub);
        Subpd = |a, b, _, env| packed(a, b, env, F64::sub);
        Mulps = |a, b, _, env| packed(a, b, env, F32::mul);
        Mulpd = |a, b, _, env| packed(a, b, env, F64::mul);
        Divps = |a, b, _, env| packed(a, b, env, F32::div);
        Divpd = |a, b, _, env| packed(a, b, env, F64::div);
        Minps = |a, b, _, env| packed(a, b, env, F32::min);
        Minpd = |a, b, _, env| packed(a, b, env, F64::min);
        Maxps = |a, b, _, env| packed(a, b, env, F32::max);
        Maxpd = |a, b, _, env| packed(a, b, env, F64::max);
        Sqrtps = |_, b, _, env| map(b, |lane: F32| lane.sqrt(env));
        Sqrtpd = |_, b, _, env| map(b, |lane: F64| lane.sqrt(env));
        Roundps = |_, b, imm, env| map(b, |lane: F32| integral(lane, imm, env));
        Roundpd = |_, b, imm, env| map(b, |lane: F64| integral(lane, imm, env));
        Addsubps = |a, b, _, env| alternate::<F32>(a, b, env);
        Addsubpd = |a, b, _, env| alternate::<F64>(a, b, env);
        Haddps = |a, b, _, env| neighbours(a, b, env, F32::add);
        Haddpd = |a, b, _, env| neighbours(a, b, env, F64::add);
        Hsubps = |a, b, _, env| neighbours(a, b, env, F32::sub);
        Hsubpd = |a, b, _, env| neighbours(a, b, env, F64::sub);
        Dpps = |a, b, imm, env| dot_product::<F32>(a, b, imm, env);
        Dppd = |a, b, imm, env| dot_product::<F64>(a, b, imm, env);
    }
    compute xmm_m32 {
        Addss = |a, b, _, env| scalar(a, b, env, F32::add);
        Subss = |a, b, _, env| scalar(a, b, env, F32::sub);
        Mulss = |a, b, _, env| scalar(a, b, env, F32::mul);
        Divss = |a, b, _, env| scalar(a, b, env, F32::div);
        Minss = |a, b, _, env| scalar(a, b, env, F32::min);
        Maxss = |a, b, _, env| scalar(a, b, env, F32::max);
        Sqrtss = |a, b, _, env| scalar(a, b, env, |_, b: F32, env| b.sqrt(env));
        Roundss = |a, b, imm, env| scalar(a, b, env, |_, b: F32, env| integral(b, imm, env));
    }
    compute xmm_m64 {
        Addsd = |a, b, _, env| scalar(a, b, env, F64::add);
        Subsd = |a, b, _, env| scalar(a, b, env, F64::sub);
        Mulsd = |a, b, _, env| scalar(a, b, env, F64::mul);
        Divsd = |a, b, _, env| scalar(a, b, env, F64::div);
        Minsd = |a, b, _, env| scalar(a, b, env, F64::min);
        Maxsd = |a, b, _, env| scalar(a, b, env, F64::max);
        Sqrtsd = |a, b, _, env| scalar(a, b, env, |_, b: F64, env| b.sqrt(env));
        Roundsd = |a, b, imm, env| scalar(a, b, env, |_, b: F64, env| integral(b, imm, env));
    }
}

/// `f` on each pair of lanes.
#[inline(always)]
pub(super) fn packed<F: Lane>(a: u128, b: u128, env: &mut Env, f: impl Fn(F, F, &mut Env) -> F) -> u128 {
    each(a, b, |a, b| f(a, b, env))
}

/// `f` on the lowest lanes; the others are `a`'s.
#[inline(always)]
pub(super) fn scalar<F: Lane>(a: u128, b: u128, env: &mut Env, f: impl Fn(F, F, &mut Env) -> F) -> u128 {
    with_low(a, f(split::<F, u128>(a)[0], split::<F, u128>(b)[0], env))
}

/// Rounds as the immediate says: bits 1:0 the direction unless bit 2 takes MXCSR's, bit 3 hides that the result is inexact.
#[inline(always)]
fn integral<F: Float>(value: F, imm: u8, env: &mut Env) -> F {
    let rounding = if imm & 4 != 0 { env.rounding } else { Rounding::from_bits(imm) };
    value.round_to_integral(rounding, imm & 8 != 0, env)
}

/// Even lanes subtracted, odd ones added.
#[inline(always)]
fn alternate<F: Lane + Float>(a: u128, b: u128, env: &mut Env) -> u128 {
    let (a, b) = (split::<F, u128>(a), split::<F, u128>(b));
    build(|index| if index % 2 == 0 { a[index].sub(b[index], env) } else { a[index].add(b[index], env) })
}

/// `f` on neighbours: the lower half of the result is from `a`, the upper from `b`.
#[inline(always)]
fn neighbours<F: Lane>(a: u128, b: u128, env: &mut Env, f: impl Fn(F, F, &mut Env) -> F) -> u128 {
    let half = count::<F, u128>() / 2;
    let (a, b) = (split::<F, u128>(a), split::<F, u128>(b));
    build(|index| {
        let from = 2 * (index % half);
        if index < half { f(a[from], a[from + 1], env) } else { f(b[from], b[from + 1], env) }
    })
}

/// The sum, pair by pair, of the products that immediate bits 7:4 choose, in the lanes that bits 3:0 choose. Each step is rounded, and an
/// unmasked exception in one keeps the next from running (SDM 2A, DPPS).
fn dot_product<F: Lane + Float>(a: u128, b: u128, imm: u8, env: &mut Env) -> u128 {
    let zero = F::split(0)[0];
    let (a, b) = (split::<F, u128>(a), split::<F, u128>(b));
    let mut terms = F::split(0);
    let mut left = count::<F, u128>();
    for index in 0..left {
        terms[index] = if imm >> (4 + index) & 1 != 0 { a[index].mul(b[index], env) } else { zero };
    }
    while left > 1 && env.unmasked().is_empty() {
        left /= 2;
        env.kept = env.flags;
        for index in 0..left {
            terms[index] = terms[2 * index].add(terms[2 * index + 1], env);
        }
    }
    build(|index| if imm >> index & 1 != 0 { terms[0] } else { zero })
}
