//! FSIN, FCOS, FSINCOS, FPTAN. The argument is reduced by the 66-bit pi of the hardware (SDM 1, 8.3.8), exactly.

use super::series::{ONE, horner, inverse_factorials, mul_high};
use crate::Env;
use crate::arith::exact;
use crate::f80::{F80, invalid, operand_fault};
use crate::round::{Real, round};
use crate::unpacked::{Format, Unpacked};

/// The operand's magnitude is 2^63 or more: C2 is set, the registers stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

/// Half of the 66-bit pi, counting 2^-65.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;

/// `sin(r) / r` in powers of r^2: below 2^-130 past 17 terms for r <= pi/4.
const SINE: [u128; 17] = inverse_factorials(1, 2);
/// `cos(r)` in powers of r^2.
const COSINE: [u128; 18] = inverse_factorials(0, 2);

impl F80 {
    /// The sine of `self` radians (FSIN).
    pub fn fsin(self, env: &mut Env) -> Result<Self, OutOfRange> {
        evaluate(self, self, env, |turn, env| round(turn.sine().inexact(), env))
    }

    /// The cosine of `self` radians (FCOS).
    pub fn fcos(self, env: &mut Env) -> Result<Self, OutOfRange> {
        evaluate(self, Self::ONE, env, |turn, env| round(turn.cosine().inexact(), env))
    }

    /// Sine and cosine of `self` radians (FSINCOS).
    pub fn fsincos(self, env: &mut Env) -> Result<(Self, Self), OutOfRange> {
        let sine = self.fsin(env)?;
        Ok((sine, self.fcos(env)?))
    }

    /// The tangent of `self` radians (FPTAN, which pushes 1 above it).
    pub fn fptan(self, env: &mut Env) -> Result<Self, OutOfRange> {
        evaluate(self, self, env, |turn, env| round(turn.tangent().inexact(), env))
    }
}

fn evaluate(x: F80, at_zero: F80, env: &mut Env, function: impl Fn(&Turn, &mut Env) -> F80) -> Result<F80, OutOfRange> {
    env.rounded_up = false;
    let a = x.unpack(false);
    if let Some(fault) = operand_fault(&[a], env) {
        return Ok(fault);
    }
    if a.is_infinity() {
        return Ok(invalid(env));
    }
    if a.is_zero() || !env.admit(a.denormal) {
        return Ok(at_zero);
    }
    if a.exp >= 63 {
        return Err(OutOfRange);
    }
    Ok(function(&Turn::reduce(a), env))
}

/// An angle: `sign * (quadrant * pi/2 + rest)` with the rest within pi/4 of zero.
struct Turn {
    sign: bool,
    quadrant: u128,
    rest: Real,
}

impl Turn {
    fn reduce(a: Unpacked) -> Self {
        if a.exp < -1 {
            return Self { sign: a.sign, quadrant: 0, rest: Real { sign: false, ..exact(a) } };
        }
        let angle = u128::from(a.sig) << (a.exp + 2);
        let (quotient, rest) = (angle / HALF_PI, angle % HALF_PI);
        let past = rest > HALF_PI / 2;
        let distance = if past { HALF_PI - rest } else { rest };
        // Bit 127 of a count of 2^-65 weighs 2^62. The count is not zero: HALF_PI is odd and wider than any significand.
        Self { sign: a.sign, quadrant: quotient + u128::from(past), rest: Real::normalized(past, 62, distance) }
    }

    fn sine(&self) -> Real {
        self.quarter(self.quadrant, self.sign)
    }

    fn cosine(&self) -> Real {
        self.quarter(self.quadrant + 1, false)
    }

    fn tangent(&self) -> Real {
        if self.quadrant == 0 && self.rest.exp < -60 {
            return Real { sign: self.sign, ..self.rest };
        }
        self.sine().over(&self.cosine())
    }

    /// The sine of `quadrant * pi/2 + rest`, negated if `negate`.
    fn quarter(&self, quadrant: u128, negate: bool) -> Real {
        let fraction = self.rest.fraction();
        let square = mul_high(fraction, fraction);
        let value = if quadrant & 1 == 0 {
            self.rest.times_ratio(horner(&SINE, square, true).min(ONE - 1))
        } else {
            Real::normalized(false, 0, horner(&COSINE, square, true).min(ONE - 1))
        };
        Real { sign: value.sign ^ negate ^ (quadrant & 2 != 0), ..value }
    }
}
