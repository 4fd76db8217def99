//! Fits an exact result into its format: rounding, overflow, underflow and the precision exception (SDM 1, 4.8.4 and 4.9.1).
//! x86 detects tininess after rounding, as if the exponent range had no bound.

use crate::unpacked::Format;
use crate::{Env, Exceptions, Rounding};

/// A nonzero real `(-1)^sign * sig / 2^127 * 2^exp`, bit 127 of `sig` set. Bit 0 is sticky: it stands for everything below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Real {
    pub sign: bool,
    pub exp: i32,
    pub sig: u128,
}

impl Real {
    /// From any nonzero significand whose bit 127 would weigh `2^exp`.
    #[inline(always)]
    pub fn normalized(sign: bool, exp: i32, sig: u128) -> Self {
        let shift = sig.leading_zeros();
        Self { sign, exp: exp - shift as i32, sig: sig << shift }
    }
}

/// Shifts right; what falls off stays visible in bit 0.
#[inline(always)]
pub(crate) fn shift_right_sticky(value: u128, count: u32) -> u128 {
    match count {
        0 => value,
        1..=127 => value >> count | u128::from(value << (128 - count) != 0),
        _ => u128::from(value != 0),
    }
}

/// A significand rounded to some bits, aligned to bit 63.
struct Significand {
    sig: u64,
    /// 1 if it rounded up to the next power of two.
    carry: i32,
    inexact: bool,
    up: bool,
}

#[inline(always)]
fn round_significand(sig: u128, bits: u32, sign: bool, rounding: Rounding) -> Significand {
    const HALF: u64 = 1 << 63;
    let (high, low) = ((sig >> 64) as u64, sig as u64);
    // What is rounded off, aligned to bit 63, with a sticky bit 0. Narrow formats leave spare bits in the high half for it.
    let rest = if bits == 64 { low } else { high << bits | u64::from(low != 0) };
    let align = 64 - bits;
    let kept = high >> align;
    let inexact = rest != 0;
    let up = match rounding {
        Rounding::Nearest => (rest > HALF) | (rest == HALF) & (kept & 1 != 0),
        directed => inexact & directed.is_outward(sign),
    };
    let (sig, wrapped) = (kept << align).overflowing_add(u64::from(up) << align);
    Significand { sig: sig | u64::from(wrapped) << 63, carry: i32::from(wrapped), inexact, up }
}

/// Rounds to `bits` of significand (fewer than the format's own under x87 precision control) and packs.
#[inline(always)]
pub(crate) fn round_to<F: Format>(real: Real, bits: u32, env: &mut Env) -> F {
    if real.exp >= F::EXP_MIN && real.exp < F::EXP_MAX {
        let rounded = round_significand(real.sig, bits, real.sign, env.rounding);
        env.flags.0 |= u8::from(rounded.inexact) << 5;
        env.rounded_up = rounded.up;
        return F::pack(real.sign, (real.exp + rounded.carry + F::EXP_MAX) as u32, rounded.sig);
    }
    round_at_edge(real, bits, env)
}

/// Rounds to the format's own significand.
#[inline(always)]
pub(crate) fn round<F: Format>(real: Real, env: &mut Env) -> F {
    round_to(real, F::SIGNIFICAND_BITS, env)
}

/// The exponents where overflow or underflow may happen.
#[cold]
#[inline(never)]
fn round_at_edge<F: Format>(real: Real, bits: u32, env: &mut Env) -> F {
    let rounded = round_significand(real.sig, bits, real.sign, env.rounding);
    let exp = real.exp + rounded.carry;
    if exp > F::EXP_MAX {
        env.raise(Exceptions::OVERFLOW);
        return if env.masks.contains(Exceptions::OVERFLOW) {
            overflow_masked(real.sign, bits, env)
        } else {
            exponent_wrapped(real.sign, exp - F::EXP_WRAP, &rounded, env)
        };
    }
    if exp < F::EXP_MIN {
        if !env.masks.contains(Exceptions::UNDERFLOW) {
            env.raise(Exceptions::UNDERFLOW);
            return exponent_wrapped(real.sign, exp + F::EXP_WRAP, &rounded, env);
        }
        return underflow_masked(real, bits, env);
    }
    report_inexact(&rounded, Exceptions::PRECISION, env);
    F::pack(real.sign, (exp + F::EXP_MAX) as u32, rounded.sig)
}

fn report_inexact(rounded: &Significand, exceptions: Exceptions, env: &mut Env) {
    if rounded.inexact {
        env.raise(exceptions);
    }
    env.rounded_up = rounded.up;
}

/// SDM 1, table 4-10.
fn overflow_masked<F: Format>(sign: bool, bits: u32, env: &mut Env) -> F {
    env.raise(Exceptions::PRECISION);
    env.rounded_up = env.rounding == Rounding::Nearest || env.rounding.is_outward(sign);
    if env.rounded_up { F::infinity(sign) } else { F::pack(sign, 2 * F::EXP_MAX as u32, u64::MAX << (64 - bits)) }
}

fn underflow_masked<F: Format>(real: Real, bits: u32, env: &mut Env) -> F {
    const TINY: Exceptions = Exceptions(Exceptions::UNDERFLOW.0 | Exceptions::PRECISION.0);
    if env.flush_to_zero {
        env.raise(TINY);
        env.rounded_up = false;
        return F::zero(real.sign);
    }
    let sig = shift_right_sticky(real.sig, (F::EXP_MIN - real.exp) as u32);
    let rounded = round_significand(sig, bits, real.sign, env.rounding);
    report_inexact(&rounded, TINY, env);
    F::pack(real.sign, (rounded.sig >> 63) as u32, rounded.sig)
}

/// Unmasked: the rounded result with its exponent moved into range; if that is not enough (FSCALE), infinity or zero (SDM 1, 8.5.4, 8.5.5).
fn exponent_wrapped<F: Format>(sign: bool, exp: i32, rounded: &Significand, env: &mut Env) -> F {
    report_inexact(rounded, Exceptions::PRECISION, env);
    if exp > F::EXP_MAX || exp < F::EXP_MIN {
        // Single and double precision are not stored then, and report only whether the significand was rounded.
        if F::SIGNIFICAND_BITS == 64 {
            env.raise(Exceptions::PRECISION);
        }
        env.rounded_up = exp > 0;
        if exp > 0 { F::infinity(sign) } else { F::zero(sign) }
    } else {
        F::pack(sign, (exp + F::EXP_MAX) as u32, rounded.sig)
    }
}
