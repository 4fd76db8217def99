//! FADD, FSUB, FMUL, FDIV, FSQRT and the comparisons. Precision control holds here and nowhere else (SDM 1, 8.1.5.2).

use super::{F80, Operand, close};
use crate::arith::{self, Outcome};
use crate::unpacked::{Format, Unpacked};
use crate::{Env, Ordering4, Rounding};

/// Two normal operands go straight to the arithmetic.
#[inline(always)]
fn binary(
    a: impl Operand,
    b: impl Operand,
    env: &mut Env,
    finite: impl Fn(Unpacked, Unpacked, Rounding) -> Outcome,
    full: impl Fn(Unpacked, Unpacked, &mut Env) -> Outcome,
) -> F80 {
    env.rounded_up = false;
    let bits = env.precision.significand_bits();
    if let (Some(a), Some(b)) = (a.unpack_normal(), b.unpack_normal()) {
        return close(finite(a, b, env.rounding), &[], bits, env);
    }
    let (a, b) = (a.unpack(false), b.unpack(false));
    let outcome = full(a, b, env);
    close(outcome, &[a, b], bits, env)
}

fn add(a: impl Operand, b: impl Operand, subtract: bool, env: &mut Env) -> F80 {
    binary(a, b, env, |a, b, rounding| arith::add_finite(a, b, subtract, rounding), |a, b, env| arith::add(a, b, subtract, env))
}

fn div(a: impl Operand, b: impl Operand, env: &mut Env) -> F80 {
    binary(a, b, env, |a, b, _| Outcome::Real(arith::div_finite(a, b)), arith::div)
}

impl F80 {
    /// `self + rhs` (FADD).
    #[must_use]
    pub fn add(self, rhs: impl Operand, env: &mut Env) -> Self {
        add(self, rhs, false, env)
    }

    /// `self - rhs` (FSUB).
    #[must_use]
    pub fn sub(self, rhs: impl Operand, env: &mut Env) -> Self {
        add(self, rhs, true, env)
    }

    /// `minuend - self` (FSUBR).
    #[must_use]
    pub fn sub_from(self, minuend: impl Operand, env: &mut Env) -> Self {
        add(minuend, self, true, env)
    }

    /// `self * rhs` (FMUL).
    #[must_use]
    pub fn mul(self, rhs: impl Operand, env: &mut Env) -> Self {
        binary(self, rhs, env, |a, b, _| Outcome::Real(arith::mul_finite(a, b)), arith::mul)
    }

    /// `self / rhs` (FDIV).
    #[must_use]
    pub fn div(self, rhs: impl Operand, env: &mut Env) -> Self {
        div(self, rhs, env)
    }

    /// `dividend / self` (FDIVR).
    #[must_use]
    pub fn div_into(self, dividend: impl Operand, env: &mut Env) -> Self {
        div(dividend, self, env)
    }

    /// The square root (FSQRT).
    #[must_use]
    pub fn sqrt(self, env: &mut Env) -> Self {
        env.rounded_up = false;
        let a = self.unpack(false);
        let outcome = arith::sqrt(a, env);
        close(outcome, &[a], env.precision.significand_bits(), env)
    }

    /// Compares. A signaling NaN or unsupported encoding is invalid; a quiet NaN only if not `quiet` (FCOM is not, FUCOM is).
    pub fn compare(self, rhs: impl Operand, env: &mut Env, quiet: bool) -> Ordering4 {
        env.rounded_up = false;
        arith::compare(self.unpack(false), rhs.unpack(false), quiet, env)
    }
}
