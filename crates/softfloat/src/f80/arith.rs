//! FADD, FSUB, FMUL, FDIV, FSQRT and the comparisons. Precision control holds here and nowhere else (SDM 1, 8.1.5.2).

use super::{F80, Operand, close};
use crate::arith::{self, Outcome};
use crate::unpacked::{Format, Unpacked};
use crate::{Env, Ordering4};

type Binary = fn(Unpacked, Unpacked, &mut Env) -> Outcome;

#[inline(always)]
fn binary(operation: Binary, a: impl Operand, b: impl Operand, env: &mut Env) -> F80 {
    env.rounded_up = false;
    let (a, b) = (a.unpack(false), b.unpack(false));
    let outcome = operation(a, b, env);
    close(outcome, &[a, b], env.precision.significand_bits(), env)
}

impl F80 {
    /// `self + rhs` (FADD).
    #[must_use]
    pub fn add(self, rhs: impl Operand, env: &mut Env) -> Self {
        binary(|a, b, env| arith::add(a, b, false, env), self, rhs, env)
    }

    /// `self - rhs` (FSUB).
    #[must_use]
    pub fn sub(self, rhs: impl Operand, env: &mut Env) -> Self {
        binary(|a, b, env| arith::add(a, b, true, env), self, rhs, env)
    }

    /// `minuend - self` (FSUBR).
    #[must_use]
    pub fn sub_from(self, minuend: impl Operand, env: &mut Env) -> Self {
        binary(|a, b, env| arith::add(a, b, true, env), minuend, self, env)
    }

    /// `self * rhs` (FMUL).
    #[must_use]
    pub fn mul(self, rhs: impl Operand, env: &mut Env) -> Self {
        binary(arith::mul, self, rhs, env)
    }

    /// `self / rhs` (FDIV).
    #[must_use]
    pub fn div(self, rhs: impl Operand, env: &mut Env) -> Self {
        binary(arith::div, self, rhs, env)
    }

    /// `dividend / self` (FDIVR).
    #[must_use]
    pub fn div_into(self, dividend: impl Operand, env: &mut Env) -> Self {
        binary(arith::div, dividend, self, env)
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
