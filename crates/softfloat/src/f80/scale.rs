//! FSCALE and FXTRACT: exponents as numbers (SDM 2, FSCALE table 3-32 and FXTRACT).

use super::{F80, invalid, operand_fault};
use crate::arith::exact;
use crate::round::{Real, round};
use crate::unpacked::Format;
use crate::{Env, Exceptions, Rounding, integer};

/// Beyond this every scaling overflows or underflows, even with the exponent adjusted.
const SCALE_LIMIT: i64 = 0x2_0000;

impl F80 {
    /// `self * 2^n`, `n` being `scale` truncated to an integer (FSCALE). Precision control does not apply.
    #[must_use]
    pub fn scale(self, scale: Self, env: &mut Env) -> Self {
        env.rounded_up = false;
        let (a, n) = (self.unpack(false), scale.unpack(false));
        if let Some(fault) = operand_fault(&[a, n], env) {
            return fault;
        }
        if n.is_infinity() && (if n.sign { a.is_infinity() } else { a.is_zero() }) {
            return invalid(env);
        }
        if !env.admit(a.denormal | n.denormal) || !a.is_finite() {
            return self;
        }
        if n.is_infinity() {
            return if n.sign { Self::zero(a.sign) } else { Self::infinity(a.sign) };
        }
        let mut unseen = Env::default();
        let truncated = integer::to_signed(n, 64, Rounding::TowardZero, &mut unseen);
        let steps = match (unseen.flags.contains(Exceptions::INVALID), n.sign) {
            (true, false) => SCALE_LIMIT,
            (true, true) => -SCALE_LIMIT,
            (false, _) => truncated.clamp(-SCALE_LIMIT, SCALE_LIMIT),
        };
        let real = exact(a);
        round(Real { exp: real.exp + steps as i32, ..real }, env)
    }

    /// Splits into exponent and significand (FXTRACT). A zero is a zero-divide and has the exponent minus infinity.
    #[must_use]
    pub fn extract(self, env: &mut Env) -> (Self, Self) {
        env.rounded_up = false;
        let a = self.unpack(false);
        if let Some(fault) = operand_fault(&[a], env) {
            return (fault, fault);
        }
        if a.is_zero() {
            env.raise(Exceptions::ZERO_DIVIDE);
            return (Self::infinity(true), self);
        }
        if a.is_infinity() {
            return (Self::infinity(false), self);
        }
        env.admit(a.denormal);
        (Self::from_i32(a.exp), Self::pack(a.sign, F80::EXP_MAX as u32, a.sig))
    }
}
