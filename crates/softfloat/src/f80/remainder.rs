//! FPREM and FPREM1: the exact remainder, at most 63 bits of quotient at a time (SDM 2, FPREM and FPREM1).

use super::{F80, invalid, operand_fault};
use crate::Env;
use crate::round::{Real, round};
use crate::unpacked::{Format, Unpacked};

/// One step of a remainder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remainder {
    /// The remainder, or the partly reduced dividend.
    pub value: F80,
    /// The low three bits of the quotient; 0 if not complete.
    pub quotient: u8,
    /// Whether the reduction is finished (C2 clear).
    pub complete: bool,
}

impl Remainder {
    fn complete(value: F80) -> Self {
        Self { value, quotient: 0, complete: true }
    }
}

impl F80 {
    /// `self - q * divisor` with the quotient truncated (FPREM).
    #[must_use]
    pub fn rem(self, divisor: Self, env: &mut Env) -> Remainder {
        remainder(self, divisor, false, env)
    }

    /// `self - q * divisor` with the quotient rounded to nearest even (FPREM1, the IEEE remainder).
    #[must_use]
    pub fn rem_nearest(self, divisor: Self, env: &mut Env) -> Remainder {
        remainder(self, divisor, true, env)
    }
}

fn remainder(dividend: F80, divisor: F80, nearest: bool, env: &mut Env) -> Remainder {
    env.rounded_up = false;
    let (a, b) = (dividend.unpack(false), divisor.unpack(false));
    if let Some(fault) = operand_fault(&[a, b], env) {
        return Remainder::complete(fault);
    }
    if a.is_infinity() || b.is_zero() {
        return Remainder::complete(invalid(env));
    }
    if !env.admit(a.denormal | b.denormal) || a.is_zero() {
        return Remainder::complete(dividend);
    }
    if b.is_infinity() {
        return Remainder::complete(round(crate::arith::exact(a), env));
    }
    reduce(a, b, nearest, env)
}

fn reduce(a: Unpacked, b: Unpacked, nearest: bool, env: &mut Env) -> Remainder {
    let distance = a.exp - b.exp;
    let divisor = u128::from(b.sig);
    if distance >= 64 {
        // Any step between 32 and 63 is architectural; this one is congruent with the distance, as the hardware's is.
        let step = distance & 31 | 32;
        let rest = (u128::from(a.sig) << step) % divisor;
        return Remainder { value: pack(a.sign, b.exp + distance - step, rest, env), quotient: 0, complete: false };
    }
    // The remainder is counted in units of the lower of the two last places, at most two below the divisor's.
    if distance < -1 {
        return Remainder::complete(pack(a.sign, a.exp, u128::from(a.sig), env));
    }
    let (dividend, divisor, exp) =
        if distance < 0 { (u128::from(a.sig), divisor << 1, a.exp) } else { (u128::from(a.sig) << distance, divisor, b.exp) };
    let (mut quotient, mut rest, mut sign) = (dividend / divisor, dividend % divisor, a.sign);
    if nearest && (rest * 2 > divisor || rest * 2 == divisor && quotient & 1 != 0) {
        quotient += 1;
        rest = divisor - rest;
        sign = !sign;
    }
    if rest == 0 {
        sign = a.sign;
    }
    Remainder { value: pack(sign, exp, rest, env), quotient: (quotient & 7) as u8, complete: true }
}

/// `rest / 2^63 * 2^exp`: always representable, so rounding only meets an unmasked underflow.
fn pack(sign: bool, exp: i32, rest: u128, env: &mut Env) -> F80 {
    if rest == 0 { F80::zero(sign) } else { round(Real::normalized(sign, exp + 64, rest), env) }
}
