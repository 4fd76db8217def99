//! Between floating point and integers: conversion both ways, and rounding to an integral value.

use crate::round::{Real, shift_right_sticky};
use crate::unpacked::{Kind, Unpacked};
use crate::{Env, Exceptions, Rounding};

/// The magnitude rounded to an integer, and whether that was exact and which way it went.
struct Integral {
    magnitude: u64,
    inexact: bool,
    up: bool,
}

/// Rounds a finite value below 2^64 to an integer; `None` from there on.
fn round_magnitude(a: Unpacked, rounding: Rounding) -> Option<Integral> {
    const HALF: u128 = 1 << 63;
    if a.exp > 63 {
        return None;
    }
    let fixed = shift_right_sticky(u128::from(a.sig) << 64, (63 - a.exp) as u32);
    let whole = (fixed >> 64) as u64;
    let rest = fixed & u128::from(u64::MAX);
    let up = match rounding {
        Rounding::Nearest => rest > HALF || rest == HALF && whole & 1 != 0,
        directed => rest != 0 && directed.is_outward(a.sign),
    };
    Some(Integral { magnitude: whole.checked_add(u64::from(up))?, inexact: rest != 0, up })
}

/// Converts to a signed integer of `bits`; out of range raises invalid and answers the integer indefinite, the most negative one.
pub(crate) fn to_signed(a: Unpacked, bits: u32, rounding: Rounding, env: &mut Env) -> i64 {
    env.rounded_up = false;
    let integral = match a.kind {
        Kind::Zero => return 0,
        Kind::Finite => round_magnitude(a, rounding),
        _ => None,
    };
    let limit = (1u64 << (bits - 1)) - u64::from(!a.sign);
    let Some(integral) = integral.filter(|it| it.magnitude <= limit) else {
        env.raise(Exceptions::INVALID);
        return i64::MIN >> (64 - bits);
    };
    if integral.inexact {
        env.raise(Exceptions::PRECISION);
    }
    env.rounded_up = integral.up;
    let magnitude = integral.magnitude as i64;
    if a.sign { magnitude.wrapping_neg() } else { magnitude }
}

/// A nonzero integer as an exact real.
pub(crate) fn from_signed(value: i64) -> Real {
    Real::normalized(value < 0, 63, u128::from(value.unsigned_abs()) << 64)
}

/// A finite value rounded to an integral one; `None` if that is a zero. Raises precision unless `suppress_inexact`.
pub(crate) fn to_integral(a: Unpacked, rounding: Rounding, suppress_inexact: bool, env: &mut Env) -> Option<Real> {
    if a.exp >= 63 {
        return Some(crate::arith::exact(a));
    }
    let integral = round_magnitude(a, rounding).expect("a magnitude below 2^63 rounds to at most 2^63");
    if integral.inexact && !suppress_inexact {
        env.raise(Exceptions::PRECISION);
    }
    env.rounded_up = integral.up;
    (integral.magnitude != 0).then(|| Real::normalized(a.sign, 63, u128::from(integral.magnitude) << 64))
}
