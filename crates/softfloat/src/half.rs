//! Half precision: a storage format only, converted by VCVTPH2PS and VCVTPS2PH (SDM 1, 14.4).

use crate::float::convert;
use crate::unpacked::{Format, Unpacked, pack_interchange, unpack_interchange, unpack_normal_interchange};
use crate::{Env, Exceptions, F32};

/// A half-precision number, as its bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct F16(pub u16);

impl Format for F16 {
    const SIGNIFICAND_BITS: u32 = 11;
    const EXP_MIN: i32 = -14;
    const EXP_MAX: i32 = 15;
    const EXP_WRAP: i32 = 24;

    fn unpack(self, daz: bool) -> Unpacked {
        unpack_interchange(u64::from(self.0), 10, 5, daz)
    }

    fn unpack_normal(self) -> Option<Unpacked> {
        unpack_normal_interchange(u64::from(self.0), 10, 5)
    }

    fn pack(sign: bool, biased: u32, sig: u64) -> Self {
        Self(pack_interchange(sign, biased, sig, 10, 5) as u16)
    }
}

impl F16 {
    /// To single precision, exactly (VCVTPH2PS). DAZ does not apply and a denormal raises nothing; a signaling NaN is invalid.
    #[must_use]
    pub fn to_f32(self, env: &mut Env) -> F32 {
        let mut exact = Env::default();
        let wide = convert(self, &mut exact);
        env.raise(exact.flags & Exceptions::INVALID);
        wide
    }
}

impl F32 {
    /// To half precision, rounded by `env` (VCVTPS2PH; its immediate may override the rounding). FTZ does not apply, DAZ does.
    #[must_use]
    pub fn to_f16(self, env: &mut Env) -> F16 {
        let mut unflushed = Env { flush_to_zero: false, ..*env };
        let half = convert(self, &mut unflushed);
        *env = Env { flush_to_zero: env.flush_to_zero, ..unflushed };
        half
    }
}
