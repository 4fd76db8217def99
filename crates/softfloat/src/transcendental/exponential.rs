//! F2XM1: `2^x - 1` for -1 <= x <= 1.

use super::series::{horner, inverse_factorials};
use crate::arith::exact;
use crate::f80::{F80, operand_fault};
use crate::round::{Real, round};
use crate::unpacked::Format;
use crate::{Env, Exceptions};

const LN_2: Real = Real { sign: false, exp: -1, sig: 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af };

/// `(e^y - 1) / y = 1/1! + y/2! + y^2/3! + ...`: below 2^-130 past 32 terms for |y| <= ln 2.
const EXPM1: [u128; 32] = inverse_factorials(1, 1);

impl F80 {
    /// `2^self - 1` (F2XM1). Beyond -1..=1, where the manual leaves the result undefined, the operand comes back unchanged.
    #[must_use]
    pub fn f2xm1(self, env: &mut Env) -> Self {
        env.rounded_up = false;
        let x = self.unpack(false);
        if let Some(fault) = operand_fault(&[x], env) {
            return fault;
        }
        if !x.is_finite() {
            return if x.is_infinity() && x.sign { Self::ONE.negate() } else { self };
        }
        if !env.admit(x.denormal) {
            return self;
        }
        if x.exp >= 0 {
            // The hardware reports precision here too, although 1 and -1 have exact results.
            env.raise(Exceptions::PRECISION);
            let minus_half = Self { mantissa: Self::ONE.mantissa, sign_exponent: 0xbffe };
            return if self == Self::ONE.negate() { minus_half } else { self };
        }
        let y = exact(x).times(&LN_2);
        round(y.times_ratio(horner(&EXPM1, y.fraction(), y.sign)).inexact(), env)
    }
}
