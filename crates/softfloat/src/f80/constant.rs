//! The constants that FLD1, FLDL2T and their kin push, rounded as RC says (SDM 2, FLD1).

use super::F80;
use crate::round::{Real, round};
use crate::{Env, Rounding};

/// Which constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constant {
    /// 1 (FLD1).
    One,
    /// log2 10 (FLDL2T).
    Log2Of10,
    /// log2 e (FLDL2E).
    Log2OfE,
    /// Pi (FLDPI).
    Pi,
    /// log10 2 (FLDLG2).
    Log10Of2,
    /// ln 2 (FLDLN2).
    LnOf2,
    /// 0 (FLDZ).
    Zero,
}

impl F80 {
    /// The constant, rounded to 64 bits of significand; no exception is raised for that.
    #[must_use]
    pub fn constant(which: Constant, rounding: Rounding) -> Self {
        let (exp, sig) = match which {
            Constant::Zero => return Self::ZERO,
            Constant::One => return Self::ONE,
            Constant::Log2Of10 => (1, 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4d),
            Constant::Log2OfE => (0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89),
            Constant::Pi => (1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
            Constant::Log10Of2 => (-2, 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178),
            Constant::LnOf2 => (-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af),
        };
        round(Real { sign: false, exp, sig }, &mut Env { rounding, ..Env::default() })
    }
}
