//! Double extended precision under the x87 rules (SDM 1, chapter 8; NaN choice: table 4-7; exceptions: 8.5).

mod arith;
mod bcd;
mod constant;
mod convert;
mod remainder;
mod scale;

pub use constant::Constant;
pub use remainder::Remainder;

use crate::arith::Outcome;
use crate::round::round_to;
use crate::unpacked::{Format, INTEGER_BIT, Kind, QUIET_BIT, Unpacked};
use crate::{Env, Exceptions, F32, F64};

/// A double extended-precision number: the ten bytes of an x87 register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct F80 {
    /// The significand with its explicit integer bit (63).
    pub mantissa: u64,
    /// The sign (15) over the exponent biased by 16383.
    pub sign_exponent: u16,
}

/// The classes that FXAM tells apart, an empty register aside (SDM 2, FXAM). Pseudo-denormals count as denormal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Unnormal, pseudo-infinity, pseudo-NaN.
    Unsupported,
    /// A NaN, quiet or signaling.
    Nan,
    /// A normal finite number.
    Normal,
    /// An infinity.
    Infinity,
    /// A zero.
    Zero,
    /// A denormal or pseudo-denormal.
    Denormal,
}

/// The other operand of an x87 operation: a register, or a real in memory. One in memory is widened without losing that it was
/// denormal or signaling, as FADD m32fp and its kin need.
pub trait Operand: Format {}
impl Operand for F80 {}
impl Operand for F32 {}
impl Operand for F64 {}

impl F80 {
    /// Plus zero.
    pub const ZERO: Self = Self { mantissa: 0, sign_exponent: 0 };
    /// One.
    pub const ONE: Self = Self { mantissa: INTEGER_BIT, sign_exponent: 0x3fff };
    /// The QNaN floating-point indefinite.
    pub const INDEFINITE: Self = Self { mantissa: INTEGER_BIT | QUIET_BIT, sign_exponent: 0xffff };

    /// From the ten bytes as they lie in memory.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let [m0, m1, m2, m3, m4, m5, m6, m7, e0, e1] = bytes;
        Self { mantissa: u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]), sign_exponent: u16::from_le_bytes([e0, e1]) }
    }

    /// The ten bytes as they lie in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.mantissa.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sign_exponent.to_le_bytes());
        bytes
    }

    /// Whether the sign bit is set, of a NaN too.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.sign_exponent & 0x8000 != 0
    }

    /// With the sign flipped (FCHS): never an exception.
    #[must_use]
    pub const fn negate(self) -> Self {
        Self { sign_exponent: self.sign_exponent ^ 0x8000, ..self }
    }

    /// With the sign cleared (FABS): never an exception.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self { sign_exponent: self.sign_exponent & 0x7fff, ..self }
    }

    /// What FXAM finds.
    #[must_use]
    pub fn classify(self) -> Class {
        let it = self.unpack(false);
        match it.kind {
            Kind::Unsupported => Class::Unsupported,
            Kind::Nan => Class::Nan,
            Kind::Infinity => Class::Infinity,
            Kind::Zero => Class::Zero,
            Kind::Finite if it.denormal => Class::Denormal,
            Kind::Finite => Class::Normal,
        }
    }
}

/// Turns an outcome into a register value, rounded to `bits` of significand.
fn close(outcome: Outcome, operands: &[Unpacked], bits: u32, env: &mut Env) -> F80 {
    match outcome {
        Outcome::Real(real) => round_to(real, bits, env),
        Outcome::Zero(sign) => F80::zero(sign),
        Outcome::Infinity(sign) => F80::infinity(sign),
        Outcome::Nan => propagate(operands, env),
        Outcome::Invalid => invalid(env),
        Outcome::Stopped => F80::ZERO,
    }
}

/// The masked response to an invalid operation.
#[cold]
pub(crate) fn invalid(env: &mut Env) -> F80 {
    env.raise(Exceptions::INVALID);
    F80::INDEFINITE
}

/// The fault of operands that are unsupported or NaNs, in that order of priority, with its result.
pub(crate) fn operand_fault(operands: &[Unpacked], env: &mut Env) -> Option<F80> {
    if operands.iter().any(Unpacked::is_unsupported) {
        Some(invalid(env))
    } else if operands.iter().any(Unpacked::is_nan) {
        Some(propagate(operands, env))
    } else {
        None
    }
}

/// The x87 choice of a NaN, made quiet: a quiet one over a signaling one, else the larger significand, else the positive one.
#[cold]
fn propagate(operands: &[Unpacked], env: &mut Env) -> F80 {
    if operands.iter().any(Unpacked::is_signaling) {
        env.raise(Exceptions::INVALID);
    }
    operands
        .iter()
        .filter(|it| it.is_nan())
        .max_by_key(|it| (it.sig & QUIET_BIT, it.sig, !it.sign))
        .map_or(F80::INDEFINITE, |nan| F80::quiet_nan(nan.sign, nan.sig))
}
