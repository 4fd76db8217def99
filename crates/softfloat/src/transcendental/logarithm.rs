//! FYL2X and FYL2XP1: `y log2 x` and `y log2 (x + 1)`.

use super::series::{horner, inverse_odds, mul_high, plus};
use super::{open_pair, zero_divide};
use crate::arith::exact;
use crate::f80::{Class, F80, invalid};
use crate::integer::from_signed;
use crate::round::{Real, round};
use crate::unpacked::{Format, Unpacked};
use crate::{Env, Exceptions};

const TWO_OVER_LN_2: Real = Real { sign: false, exp: 1, sig: 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89 };

/// Just above the square root of 2, where the significand is halved to keep the logarithm's argument near 1.
const SQRT_2: u64 = 0xb504_f333_f9de_6485;

/// `atanh(s) / s = 1 + s^2/3 + s^4/5 + ...`: below 2^-130 past 26 terms for s^2 < 0.0295.
const ATANH: [u128; 26] = inverse_odds();

impl F80 {
    /// `y * log2(self)` (FYL2X).
    #[must_use]
    pub fn fyl2x(self, y: Self, env: &mut Env) -> Self {
        let (x, y) = match open_pair(self, y, env) {
            Ok(pair) => pair,
            Err(fault) => return fault,
        };
        if x.sign && !x.is_zero() || x.is_zero() && y.is_zero() || x.is_infinity() && y.is_zero() || self == Self::ONE && y.is_infinity() {
            return invalid(env);
        }
        if x.is_zero() && y.is_finite() {
            return zero_divide(!y.sign, env);
        }
        if !env.admit(x.denormal | y.denormal) {
            return self;
        }
        let log_sign = x.is_zero() || x.is_finite() && x.exp < 0;
        if !x.is_finite() || y.is_infinity() {
            return Self::infinity(y.sign ^ log_sign);
        }
        if y.is_zero() || self == Self::ONE {
            return Self::zero(y.sign ^ log_sign);
        }
        finish(y, log2(x), env)
    }

    /// `y * log2(self + 1)` (FYL2XP1), accurate for small `self`. The manual bounds `self` by 1 - sqrt(2)/2 in magnitude and leaves the rest
    /// undefined; here the function goes on to minus 1, and is invalid below.
    #[must_use]
    pub fn fyl2xp1(self, y: Self, env: &mut Env) -> Self {
        let (x, y) = match open_pair(self, y, env) {
            Ok(pair) => pair,
            Err(fault) => return fault,
        };
        let below = x.sign && (x.is_infinity() || x.is_finite() && x.exp >= 0 && self != Self::ONE.negate());
        if below || x.is_zero() && y.is_infinity() || x.is_infinity() && y.is_zero() {
            return invalid(env);
        }
        if self == Self::ONE.negate() {
            return if y.is_zero() { invalid(env) } else { zero_divide(!y.sign, env) };
        }
        if !env.admit(x.denormal | y.denormal) {
            return self;
        }
        if x.is_infinity() || y.is_infinity() {
            return Self::infinity(y.sign ^ x.sign);
        }
        if x.is_zero() || y.is_zero() {
            return Self::zero(y.sign ^ x.sign);
        }
        finish(y, log2_plus_one(x), env)
    }
}

/// A logarithm, and whether it is exact.
struct Log2 {
    value: Real,
    exact: bool,
}

fn finish(y: Unpacked, log: Log2, env: &mut Env) -> F80 {
    if log.exact {
        // An integer below 2^15 in magnitude times 64 bits fits; the hardware reports precision all the same, and underflow with it.
        let product = round::<F80>(exact(y).times(&log.value), env);
        let tiny = product.classify() == Class::Denormal;
        env.raise(if tiny { Exceptions::PRECISION | Exceptions::UNDERFLOW } else { Exceptions::PRECISION });
        return product;
    }
    round(exact(y).times(&log.value).inexact(), env)
}

/// log2 of a positive number other than 1.
fn log2(x: Unpacked) -> Log2 {
    let halve = x.sig >= SQRT_2;
    let exponent = x.exp + i32::from(halve);
    // Both with bit 127 worth 2: m - 1 and m + 1 for m in [sqrt(1/2), sqrt(2)).
    let m = u128::from(x.sig) << (62 + u32::from(!halve));
    let one = 1u128 << 126;
    if m == one {
        return Log2 { value: from_signed(i64::from(exponent)), exact: true };
    }
    let numerator = Real::normalized(m < one, 1, m.abs_diff(one));
    let fraction = log2_ratio(&numerator, &Real::normalized(false, 1, m + one));
    Log2 { value: if exponent == 0 { fraction } else { plus(from_signed(i64::from(exponent)), fraction) }, exact: false }
}

/// log2 of `x + 1` for x > -1 and not 0.
fn log2_plus_one(x: Unpacked) -> Log2 {
    let x = exact(x);
    if x.exp < -2 {
        // |x| < 1/4: log2(1 + x) = 2/ln2 atanh(x / (2 + x)).
        let two = Real { sign: false, exp: 1, sig: 1 << 127 };
        return Log2 { value: log2_ratio(&x, &plus(two, x)), exact: false };
    }
    let sum = plus(Real { sign: false, exp: 0, sig: 1 << 127 }, x);
    let halve = (sum.sig >> 64) as u64 >= SQRT_2;
    let exponent = sum.exp + i32::from(halve);
    let one = Real { sign: false, exp: 0, sig: 1 << 127 };
    let m = Real { exp: sum.exp - exponent, ..sum };
    if m == one {
        return Log2 { value: from_signed(i64::from(exponent)), exact: true };
    }
    let fraction = log2_ratio(&plus(m, Real { sign: true, ..one }), &plus(m, one));
    Log2 { value: if exponent == 0 { fraction } else { plus(from_signed(i64::from(exponent)), fraction) }, exact: false }
}

/// `2/ln 2 * atanh(numerator / denominator)`.
fn log2_ratio(numerator: &Real, denominator: &Real) -> Real {
    let s = numerator.over(denominator);
    let fraction = s.fraction();
    let square = mul_high(fraction, fraction);
    s.times_ratio(horner(&ATANH, square, false)).times(&TWO_OVER_LN_2)
}
