//! Single and double precision under the SSE rules (SDM 1, chapter 11; NaN choice: table 4-7).

use crate::arith::{self, Outcome};
use crate::round::round;
use crate::unpacked::{Format, Unpacked};
use crate::{Env, Exceptions, Ordering4, Rounding, integer};

/// A single-precision number, as its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct F32(pub u32);

/// A double-precision number, as its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct F64(pub u64);

/// The SSE operations. Every method reads control from `env` and adds its exceptions to `env.flags`.
pub trait Float: Format {
    /// `self + rhs` (ADDSS, ADDSD).
    #[must_use]
    #[inline]
    fn add(self, rhs: Self, env: &mut Env) -> Self {
        binary(self, rhs, env, |a, b, rounding| arith::add_finite(a, b, false, rounding), |a, b, env| arith::add(a, b, false, env))
    }

    /// `self - rhs` (SUBSS, SUBSD).
    #[must_use]
    #[inline]
    fn sub(self, rhs: Self, env: &mut Env) -> Self {
        binary(self, rhs, env, |a, b, rounding| arith::add_finite(a, b, true, rounding), |a, b, env| arith::add(a, b, true, env))
    }

    /// `self * rhs` (MULSS, MULSD).
    #[must_use]
    #[inline]
    fn mul(self, rhs: Self, env: &mut Env) -> Self {
        binary(self, rhs, env, |a, b, _| Outcome::Real(arith::mul_finite(a, b)), arith::mul)
    }

    /// `self / rhs` (DIVSS, DIVSD).
    #[must_use]
    #[inline]
    fn div(self, rhs: Self, env: &mut Env) -> Self {
        binary(self, rhs, env, |a, b, _| Outcome::Real(arith::div_finite(a, b)), arith::div)
    }

    /// The square root (SQRTSS, SQRTSD).
    #[must_use]
    #[inline]
    fn sqrt(self, env: &mut Env) -> Self {
        if let Some(a) = self.unpack_normal().filter(|a| !a.sign) {
            return round(arith::sqrt_finite(a), env);
        }
        general(&[self], env, |[a], env| arith::sqrt(*a, env))
    }

    /// `self * m + a` with one rounding (the FMA family). The order of the NaN choice is `self`, `m`, `a`.
    #[must_use]
    #[inline]
    fn mul_add(self, m: Self, a: Self, env: &mut Env) -> Self {
        if let (Some(x), Some(y), Some(z)) = (self.unpack_normal(), m.unpack_normal(), a.unpack_normal()) {
            return close(arith::mul_add_finite(x, y, z, env.rounding), env, |_| Self::indefinite());
        }
        general(&[self, m, a], env, |[x, y, z], env| arith::mul_add(*x, *y, *z, env))
    }

    /// The smaller (MINSS, MINSD): `rhs` if either is a NaN (which is invalid, quiet or not) or both are zeros.
    #[must_use]
    #[inline]
    fn min(self, rhs: Self, env: &mut Env) -> Self {
        select(self, rhs, Ordering4::Less, env)
    }

    /// The larger (MAXSS, MAXSD): `rhs` if either is a NaN (which is invalid, quiet or not) or both are zeros.
    #[must_use]
    #[inline]
    fn max(self, rhs: Self, env: &mut Env) -> Self {
        select(self, rhs, Ordering4::Greater, env)
    }

    /// Compares. A signaling NaN is invalid; a quiet one only if not `quiet` (COMISS and CMPLTSS are not, UCOMISS and CMPEQSS are).
    #[inline]
    fn compare(self, rhs: Self, env: &mut Env, quiet: bool) -> Ordering4 {
        let (a, b) = open(self, rhs, env);
        arith::compare(a, b, quiet, env)
    }

    /// To a 32-bit integer, rounded by `env` (CVTSS2SI). Out of range and NaN: `i32::MIN` and invalid.
    #[inline]
    fn to_i32(self, env: &mut Env) -> i32 {
        integer::to_signed(self.unpack(env.denormals_are_zero), 32, env.rounding, env) as i32
    }

    /// To a 64-bit integer, rounded by `env` (CVTSS2SI). Out of range and NaN: `i64::MIN` and invalid.
    #[inline]
    fn to_i64(self, env: &mut Env) -> i64 {
        integer::to_signed(self.unpack(env.denormals_are_zero), 64, env.rounding, env)
    }

    /// To a 32-bit integer, toward zero (CVTTSS2SI).
    #[inline]
    fn to_i32_truncate(self, env: &mut Env) -> i32 {
        integer::to_signed(self.unpack(env.denormals_are_zero), 32, Rounding::TowardZero, env) as i32
    }

    /// To a 64-bit integer, toward zero (CVTTSS2SI).
    #[inline]
    fn to_i64_truncate(self, env: &mut Env) -> i64 {
        integer::to_signed(self.unpack(env.denormals_are_zero), 64, Rounding::TowardZero, env)
    }

    /// From a 32-bit integer (CVTSI2SS, CVTDQ2PS).
    #[must_use]
    #[inline]
    fn from_i32(value: i32, env: &mut Env) -> Self {
        Self::from_i64(i64::from(value), env)
    }

    /// From a 64-bit integer (CVTSI2SS).
    #[must_use]
    #[inline]
    fn from_i64(value: i64, env: &mut Env) -> Self {
        if value == 0 { Self::zero(false) } else { round(integer::from_signed(value), env) }
    }

    /// To an integral value in the same format (ROUNDSS). Raises precision unless `suppress_inexact`; never the denormal exception.
    #[must_use]
    fn round_to_integral(self, rounding: Rounding, suppress_inexact: bool, env: &mut Env) -> Self {
        let a = self.unpack(env.denormals_are_zero);
        if a.is_nan() {
            return propagate(&[a], env);
        }
        if !a.is_finite() {
            return if a.is_zero() { Self::zero(a.sign) } else { self };
        }
        // The result needs no more significand bits than the operand, so rounding it again changes nothing.
        match integer::to_integral(a, rounding, suppress_inexact, env) {
            Some(real) => round(real, env),
            None => Self::zero(a.sign),
        }
    }
}

impl Float for F32 {}
impl Float for F64 {}

impl F32 {
    /// To double precision, exactly (CVTSS2SD).
    #[must_use]
    #[inline]
    pub fn to_f64(self, env: &mut Env) -> F64 {
        convert(self, env)
    }
}

impl F64 {
    /// To single precision, rounded by `env` (CVTSD2SS).
    #[must_use]
    #[inline]
    pub fn to_f32(self, env: &mut Env) -> F32 {
        convert(self, env)
    }
}

#[inline(always)]
fn open<F: Format>(a: F, b: F, env: &Env) -> (Unpacked, Unpacked) {
    (a.unpack(env.denormals_are_zero), b.unpack(env.denormals_are_zero))
}

#[inline(always)]
pub(crate) fn convert<From: Format, To: Format>(from: From, env: &mut Env) -> To {
    let a = from.unpack(env.denormals_are_zero);
    if a.is_nan() {
        return propagate(&[a], env);
    }
    if !env.admit(a.denormal) {
        return To::zero(false);
    }
    if a.is_finite() {
        round(arith::exact(a), env)
    } else if a.is_zero() {
        To::zero(a.sign)
    } else {
        To::infinity(a.sign)
    }
}

/// Two normal operands go straight to the arithmetic.
#[inline(always)]
fn binary<F: Format>(
    a: F,
    b: F,
    env: &mut Env,
    finite: impl Fn(Unpacked, Unpacked, Rounding) -> Outcome,
    full: impl Fn(Unpacked, Unpacked, &mut Env) -> Outcome,
) -> F {
    if let (Some(a), Some(b)) = (a.unpack_normal(), b.unpack_normal()) {
        return close(finite(a, b, env.rounding), env, |_| F::indefinite());
    }
    general(&[a, b], env, |[a, b], env| full(*a, *b, env))
}

/// Any operands.
#[cold]
#[inline(never)]
fn general<F: Format, const N: usize>(operands: &[F; N], env: &mut Env, operation: impl Fn(&[Unpacked; N], &mut Env) -> Outcome) -> F {
    let opened = operands.map(|it| it.unpack(env.denormals_are_zero));
    let outcome = operation(&opened, env);
    close(outcome, env, |env| propagate(&opened, env))
}

#[inline(always)]
fn close<F: Format>(outcome: Outcome, env: &mut Env, nan: impl FnOnce(&mut Env) -> F) -> F {
    match outcome {
        Outcome::Real(real) => round(real, env),
        Outcome::Zero(sign) => F::zero(sign),
        Outcome::Infinity(sign) => F::infinity(sign),
        Outcome::Nan => nan(env),
        Outcome::Invalid => {
            env.raise(Exceptions::INVALID);
            F::indefinite()
        }
        Outcome::Stopped => F::zero(false),
    }
}

/// The first NaN among the operands, made quiet.
#[cold]
pub(crate) fn propagate<F: Format>(operands: &[Unpacked], env: &mut Env) -> F {
    if operands.iter().any(Unpacked::is_signaling) {
        env.raise(Exceptions::INVALID);
    }
    operands.iter().find(|it| it.is_nan()).map_or_else(F::indefinite, |nan| F::quiet_nan(nan.sign, nan.sig))
}

/// `a` if it stands in the `wanted` order to `b`, else `b`.
#[inline(always)]
fn select<F: Format>(a: F, b: F, wanted: Ordering4, env: &mut Env) -> F {
    let (x, y) = open(a, b, env);
    let (chosen, opened) = if arith::compare(x, y, false, env) == wanted { (a, x) } else { (b, y) };
    if opened.is_zero() { F::zero(opened.sign) } else { chosen }
}
