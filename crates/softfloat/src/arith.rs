//! Add, multiply, divide, square root, fused multiply-add and compare on unpacked operands: what SSE and x87 have in common.
//! The order of exceptions is SDM 1, 4.9.2: NaN operands, invalid and zero-divide, then denormal operands.
//! Each operation has a `_finite` core, which callers with two normal operands enter at once.

use crate::round::{Real, shift_right_sticky};
use crate::unpacked::{Kind, Unpacked};
use crate::{Env, Exceptions, Ordering4, Rounding};

/// What an operation comes to before the destination format has its say.
pub(crate) enum Outcome {
    Real(Real),
    Zero(bool),
    Infinity(bool),
    /// An operand is a NaN: the caller's NaN rule chooses.
    Nan,
    /// The invalid operation: the caller raises it and answers the indefinite.
    Invalid,
    /// An unmasked denormal operand ended it.
    Stopped,
}

use Outcome::{Infinity, Invalid, Nan, Stopped, Zero};

fn operand_fault(a: Unpacked, b: Unpacked) -> Option<Outcome> {
    if a.is_unsupported() || b.is_unsupported() {
        Some(Invalid)
    } else if a.is_nan() || b.is_nan() {
        Some(Nan)
    } else {
        None
    }
}

/// `a + b`, or `a - b` if `subtract`.
pub(crate) fn add(a: Unpacked, b: Unpacked, subtract: bool, env: &mut Env) -> Outcome {
    if let Some(fault) = operand_fault(a, b) {
        return fault;
    }
    let b_sign = b.sign ^ subtract;
    if a.is_infinity() && b.is_infinity() && a.sign != b_sign {
        return Invalid;
    }
    if !env.admit(a.denormal | b.denormal) {
        return Stopped;
    }
    match (a.kind, b.kind) {
        (Kind::Infinity, _) => Infinity(a.sign),
        (_, Kind::Infinity) => Infinity(b_sign),
        (Kind::Zero, Kind::Zero) => Zero(zero_sum_sign(a.sign, b_sign, env.rounding)),
        (Kind::Zero, _) => Outcome::Real(Real { sign: b_sign, ..exact(b) }),
        (_, Kind::Zero) => Outcome::Real(exact(a)),
        _ => add_finite(a, b, subtract, env.rounding),
    }
}

/// `a + b` or `a - b` of finite nonzero numbers.
#[inline(always)]
pub(crate) fn add_finite(a: Unpacked, b: Unpacked, subtract: bool, rounding: Rounding) -> Outcome {
    sum(term(a, false), term(b, subtract), rounding)
}

fn zero_sum_sign(a: bool, b: bool, rounding: Rounding) -> bool {
    if a == b { a } else { rounding == Rounding::Down }
}

/// `a * b`.
pub(crate) fn mul(a: Unpacked, b: Unpacked, env: &mut Env) -> Outcome {
    if let Some(fault) = operand_fault(a, b) {
        return fault;
    }
    if a.is_infinity() && b.is_zero() || a.is_zero() && b.is_infinity() {
        return Invalid;
    }
    if !env.admit(a.denormal | b.denormal) {
        return Stopped;
    }
    let sign = a.sign ^ b.sign;
    if a.is_infinity() || b.is_infinity() {
        Infinity(sign)
    } else if a.is_zero() || b.is_zero() {
        Zero(sign)
    } else {
        Outcome::Real(mul_finite(a, b))
    }
}

/// `a * b` of finite nonzero numbers.
#[inline(always)]
pub(crate) fn mul_finite(a: Unpacked, b: Unpacked) -> Real {
    let sig = u128::from(a.sig) * u128::from(b.sig);
    let high = (sig >> 127) as i32;
    Real { sign: a.sign ^ b.sign, exp: a.exp + b.exp + high, sig: sig << (1 - high) }
}

/// `a / b`.
pub(crate) fn div(a: Unpacked, b: Unpacked, env: &mut Env) -> Outcome {
    if let Some(fault) = operand_fault(a, b) {
        return fault;
    }
    if a.kind == b.kind && !a.is_finite() {
        return Invalid;
    }
    let sign = a.sign ^ b.sign;
    if a.is_finite() && b.is_zero() {
        env.raise(Exceptions::ZERO_DIVIDE);
        return Infinity(sign);
    }
    if !env.admit(a.denormal | b.denormal) {
        return Stopped;
    }
    if a.is_infinity() || b.is_zero() {
        Infinity(sign)
    } else if a.is_zero() || b.is_infinity() {
        Zero(sign)
    } else {
        Outcome::Real(div_finite(a, b))
    }
}

/// `a / b` of finite nonzero numbers.
#[inline(always)]
pub(crate) fn div_finite(a: Unpacked, b: Unpacked) -> Real {
    let less = a.sig < b.sig;
    let dividend = u128::from(a.sig) << (63 + u32::from(less));
    let divisor = u128::from(b.sig);
    let quotient = dividend / divisor;
    let rest = dividend - quotient * divisor;
    let tail = if rest == 0 { 0 } else { u128::from(rest * 2 >= divisor) << 63 | u128::from(rest * 2 != divisor) };
    Real { sign: a.sign ^ b.sign, exp: a.exp - b.exp - i32::from(less), sig: quotient << 64 | tail }
}

/// The square root of `a`.
pub(crate) fn sqrt(a: Unpacked, env: &mut Env) -> Outcome {
    match a.kind {
        Kind::Nan => return Nan,
        Kind::Zero => return Zero(a.sign),
        Kind::Infinity if !a.sign => return Infinity(false),
        Kind::Finite if !a.sign => {}
        _ => return Invalid,
    }
    if !env.admit(a.denormal) {
        return Stopped;
    }
    Outcome::Real(sqrt_finite(a))
}

/// The square root of a finite positive number.
#[inline(always)]
pub(crate) fn sqrt_finite(a: Unpacked) -> Real {
    let radicand = u128::from(a.sig) << (63 + (a.exp & 1));
    let root = radicand.isqrt();
    let rest = radicand - root * root;
    // The root of a 128-bit integer lies above root + 1/2 exactly when the rest exceeds the root; it is never exactly there.
    let tail = u128::from(rest > root) << 63 | u128::from(rest != 0);
    Real { sign: false, exp: a.exp >> 1, sig: root << 64 | tail }
}

/// `a * b + c` with one rounding, for significands of at most 53 bits.
pub(crate) fn mul_add(a: Unpacked, b: Unpacked, c: Unpacked, env: &mut Env) -> Outcome {
    if a.is_nan() || b.is_nan() || c.is_nan() {
        return Nan;
    }
    let infinite = a.is_infinity() || b.is_infinity();
    let zero = a.is_zero() || b.is_zero();
    let sign = a.sign ^ b.sign;
    if infinite && (zero || c.is_infinity() && c.sign != sign) {
        return Invalid;
    }
    if !env.admit(a.denormal | b.denormal | c.denormal) {
        return Stopped;
    }
    if infinite {
        Infinity(sign)
    } else if c.is_infinity() {
        Infinity(c.sign)
    } else if zero && c.is_zero() {
        Zero(zero_sum_sign(sign, c.sign, env.rounding))
    } else if zero {
        Outcome::Real(exact(c))
    } else if c.is_zero() {
        Outcome::Real(mul_finite(a, b))
    } else {
        mul_add_finite(a, b, c, env.rounding)
    }
}

/// `a * b + c` of finite nonzero numbers with significands of at most 53 bits.
#[inline(always)]
pub(crate) fn mul_add_finite(a: Unpacked, b: Unpacked, c: Unpacked, rounding: Rounding) -> Outcome {
    let product = mul_finite(a, b);
    sum(Real { sig: product.sig >> 1, ..product }, term(c, false), rounding)
}

/// Compares. Any NaN is invalid unless `quiet`, which admits quiet ones.
#[inline(always)]
pub(crate) fn compare(a: Unpacked, b: Unpacked, quiet: bool, env: &mut Env) -> Ordering4 {
    if a.is_unsupported() || b.is_unsupported() {
        env.raise(Exceptions::INVALID);
        return Ordering4::Unordered;
    }
    if a.is_nan() || b.is_nan() {
        if !quiet || a.is_signaling() || b.is_signaling() {
            env.raise(Exceptions::INVALID);
        }
        return Ordering4::Unordered;
    }
    env.admit(a.denormal | b.denormal);
    match order_key(a).cmp(&order_key(b)) {
        core::cmp::Ordering::Less => Ordering4::Less,
        core::cmp::Ordering::Equal => Ordering4::Equal,
        core::cmp::Ordering::Greater => Ordering4::Greater,
    }
}

/// An integer that orders as the number does.
fn order_key(a: Unpacked) -> i128 {
    let magnitude = match a.kind {
        Kind::Zero => 0,
        Kind::Finite => i128::from(a.exp + 0x1_0000) << 64 | i128::from(a.sig),
        _ => i128::MAX,
    };
    if a.sign { -magnitude } else { magnitude }
}

/// The operand itself as a result.
pub(crate) fn exact(a: Unpacked) -> Real {
    Real { sign: a.sign, exp: a.exp, sig: u128::from(a.sig) << 64 }
}

/// A summand: like [`exact`], but aligned to bit 126 to leave room for the carry.
#[inline(always)]
fn term(a: Unpacked, negate: bool) -> Real {
    Real { sign: a.sign ^ negate, exp: a.exp, sig: u128::from(a.sig) << 63 }
}

/// The sum of two terms aligned to bit 126. At least two bits below the rounding position are exact, so the sticky bit is enough:
/// a difference that cancels more than one bit has its operands at most one place apart, and then nothing was shifted out.
#[inline(always)]
pub(crate) fn sum(a: Real, b: Real, rounding: Rounding) -> Outcome {
    let (big, small) = if (a.exp, a.sig) >= (b.exp, b.sig) { (a, b) } else { (b, a) };
    let aligned = shift_right_sticky(small.sig, (big.exp - small.exp) as u32);
    let sig = if big.sign == small.sign { big.sig + aligned } else { big.sig - aligned };
    if sig == 0 {
        return Zero(rounding == Rounding::Down);
    }
    Outcome::Real(Real::normalized(big.sign, big.exp + 1, sig))
}
