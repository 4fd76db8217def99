//! Loads and stores of the other formats: FLD, FST, FILD, FIST, FISTTP, FRNDINT.

use super::{F80, operand_fault};
use crate::arith::exact;
use crate::float::{convert, propagate};
use crate::round::round;
use crate::unpacked::Format;
use crate::{Env, Exceptions, F32, F64, Rounding, integer};

impl F80 {
    /// Widens single precision, exactly (FLD m32fp): a signaling NaN is invalid, a denormal raises its exception.
    #[must_use]
    pub fn from_f32(value: F32, env: &mut Env) -> Self {
        env.rounded_up = false;
        convert(value, env)
    }

    /// Widens double precision, exactly (FLD m64fp): a signaling NaN is invalid, a denormal raises its exception.
    #[must_use]
    pub fn from_f64(value: F64, env: &mut Env) -> Self {
        env.rounded_up = false;
        convert(value, env)
    }

    /// Rounds to single precision (FST m32fp). Precision control does not apply; a denormal raises nothing of its own.
    #[must_use]
    pub fn to_f32(self, env: &mut Env) -> F32 {
        store(self, env)
    }

    /// Rounds to double precision (FST m64fp). Precision control does not apply; a denormal raises nothing of its own.
    #[must_use]
    pub fn to_f64(self, env: &mut Env) -> F64 {
        store(self, env)
    }

    /// From a 16-bit integer, exactly (FILD m16int).
    #[must_use]
    pub fn from_i16(value: i16) -> Self {
        Self::from_i64(i64::from(value))
    }

    /// From a 32-bit integer, exactly (FILD m32int).
    #[must_use]
    pub fn from_i32(value: i32) -> Self {
        Self::from_i64(i64::from(value))
    }

    /// From a 64-bit integer, exactly (FILD m64int).
    #[must_use]
    pub fn from_i64(value: i64) -> Self {
        if value == 0 { Self::ZERO } else { round(integer::from_signed(value), &mut Env::default()) }
    }

    /// To a 16-bit integer, rounded by `env` (FIST m16int). Out of range and NaN: `i16::MIN` and invalid.
    pub fn to_i16(self, env: &mut Env) -> i16 {
        integer::to_signed(self.unpack(false), 16, env.rounding, env) as i16
    }

    /// To a 32-bit integer, rounded by `env` (FIST m32int). Out of range and NaN: `i32::MIN` and invalid.
    pub fn to_i32(self, env: &mut Env) -> i32 {
        integer::to_signed(self.unpack(false), 32, env.rounding, env) as i32
    }

    /// To a 64-bit integer, rounded by `env` (FISTP m64int). Out of range and NaN: `i64::MIN` and invalid.
    pub fn to_i64(self, env: &mut Env) -> i64 {
        integer::to_signed(self.unpack(false), 64, env.rounding, env)
    }

    /// To a 16-bit integer, toward zero (FISTTP m16int).
    pub fn to_i16_truncate(self, env: &mut Env) -> i16 {
        integer::to_signed(self.unpack(false), 16, Rounding::TowardZero, env) as i16
    }

    /// To a 32-bit integer, toward zero (FISTTP m32int).
    pub fn to_i32_truncate(self, env: &mut Env) -> i32 {
        integer::to_signed(self.unpack(false), 32, Rounding::TowardZero, env) as i32
    }

    /// To a 64-bit integer, toward zero (FISTTP m64int).
    pub fn to_i64_truncate(self, env: &mut Env) -> i64 {
        integer::to_signed(self.unpack(false), 64, Rounding::TowardZero, env)
    }

    /// To an integral value, rounded by `env` (FRNDINT).
    #[must_use]
    pub fn round_to_integral(self, env: &mut Env) -> Self {
        env.rounded_up = false;
        let a = self.unpack(false);
        if let Some(fault) = operand_fault(&[a], env) {
            return fault;
        }
        if !a.is_finite() || !env.admit(a.denormal) {
            return self;
        }
        match integer::to_integral(a, env.rounding, false, env) {
            Some(real) => {
                let up = env.rounded_up;
                let integral = round(real, env);
                env.rounded_up = up;
                integral
            }
            None => Self::zero(a.sign),
        }
    }
}

fn store<To: Format>(value: F80, env: &mut Env) -> To {
    env.rounded_up = false;
    let a = value.unpack(false);
    if a.is_unsupported() {
        env.raise(Exceptions::INVALID);
        To::indefinite()
    } else if a.is_nan() {
        propagate(&[a], env)
    } else if a.is_finite() {
        let mut attempt = Env { flags: Exceptions::NONE, ..*env };
        let stored = round(exact(a), &mut attempt);
        let range = attempt.unmasked() & (Exceptions::OVERFLOW | Exceptions::UNDERFLOW);
        if range.is_empty() {
            env.raise(attempt.flags);
            env.rounded_up = attempt.rounded_up;
        } else {
            // Memory stays as it was, so nothing was rounded.
            env.raise(range);
        }
        stored
    } else if a.is_zero() {
        To::zero(a.sign)
    } else {
        To::infinity(a.sign)
    }
}
