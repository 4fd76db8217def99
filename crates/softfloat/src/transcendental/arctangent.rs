//! FPATAN: the angle of the point (x, y), with true pi.

use super::open_pair;
use super::series::{ONE, divide, horner, inverse_odds, mul_high, plus};
use crate::Env;
use crate::arith::exact;
use crate::f80::F80;
use crate::round::{Real, round};
use crate::unpacked::Format;

/// Pi to 128 bits; the exponents below make its multiples.
const PI: u128 = 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1;
const THREE_QUARTERS_PI: Real = Real { sign: false, exp: 1, sig: 0x96cb_e3f9_990e_91a7_9394_c9e8_a0a5_159d };

const fn pi(exp: i32) -> Real {
    Real { sign: false, exp, sig: PI }
}

/// `atan(t) / t = 1 - t^2/3 + t^4/5 - ...`: below 2^-130 past 14 terms for t <= 1/31.
const ATAN: [u128; 14] = inverse_odds();

/// atan(i / 16) as ratios.
const ATAN_SIXTEENTHS: [u128; 17] = [
    0x0000_0000_0000_0000_0000_0000_0000_0000,
    0x07fd_56ed_cb3f_7a71_b659_3c96_e071_706b,
    0x0fea_dd4d_5617_b6e3_2c89_7989_f3e8_88ef,
    0x17b9_7b4b_ce5b_0226_8f61_69f1_0393_8e91,
    0x1f5b_75f9_2c80_dd62_adb8_f3de_bef4_42fd,
    0x26c4_ee6e_0fd7_979a_716a_ed26_349e_bcca,
    0x2dec_3283_c9bd_e11c_e2a8_c848_b73f_9121,
    0x34c9_dd87_9847_f96d_909f_257a_4007_9c4e,
    0x3b58_ce0a_c376_9ed1_5bf9_117b_2f0e_a341,
    0x4195_fa53_6cc3_3f15_25b5_04e5_b0d2_8ae0,
    0x4780_2eaf_7bfa_cfcd_ae41_af0b_32e2_1ba4,
    0x4d17_c073_38de_ed10_2113_7c71_1027_f9de,
    0x525e_3e8c_9a7b_8492_0cd4_3f95_22be_d64f,
    0x5756_261c_5a6c_6040_0a39_2f17_9f29_0385,
    0x5c02_9f15_e118_cf39_e596_d2a9_0852_221f,
    0x6067_42dc_5629_3320_44ee_b162_3749_7d12,
    0x6487_ed51_10b4_611a_6263_3145_c06e_0e69,
];

impl F80 {
    /// The angle of the point (`x`, `self`), from -pi to pi (FPATAN: `self` is ST(1), `x` is ST(0)).
    #[must_use]
    pub fn fpatan(self, x: Self, env: &mut Env) -> Self {
        let (y, x) = match open_pair(self, x, env) {
            Ok(pair) => pair,
            Err(fault) => return fault,
        };
        if !env.admit(x.denormal | y.denormal) {
            return self;
        }
        let angle = if y.is_infinity() {
            match (x.is_infinity(), x.sign) {
                (false, _) => pi(0),
                (true, false) => pi(-1),
                (true, true) => THREE_QUARTERS_PI,
            }
        } else if y.is_zero() || x.is_infinity() {
            if !x.sign {
                return Self::zero(y.sign);
            }
            pi(1)
        } else if x.is_zero() {
            pi(0)
        } else {
            angle_of(Real { sign: false, ..exact(y) }, exact(x))
        };
        round(Real { sign: y.sign, ..angle }.inexact(), env)
    }
}

/// The angle of a point with y > 0 and x not 0.
fn angle_of(y: Real, x: Real) -> Real {
    let width = Real { sign: false, ..x };
    if (y.exp, y.sig) > (width.exp, width.sig) {
        let rest = arctangent(width.over(&y));
        return plus(pi(0), Real { sign: !x.sign, ..rest });
    }
    let acute = arctangent(y.over(&width));
    if x.sign { plus(pi(1), Real { sign: true, ..acute }) } else { acute }
}

/// atan q for 0 < q <= 1: from the nearest sixteenth c, atan q = atan c + atan ((q - c) / (1 + q c)).
fn arctangent(q: Real) -> Real {
    let ratio = q.sig.checked_shr(-q.exp as u32).unwrap_or(0);
    let nearest = (ratio + (1 << 122)) >> 123;
    if nearest == 0 {
        return q.times_ratio(atan_factor(q.fraction()).min(ONE - 1));
    }
    let centre = nearest << 123;
    let half_denominator = (ONE >> 1) + (ratio >> 5) * nearest;
    let t = divide(ratio.abs_diff(centre) >> 1, half_denominator);
    let step = mul_high(t, atan_factor(t));
    let base = ATAN_SIXTEENTHS[nearest as usize];
    Real::normalized(false, 0, if ratio < centre { base - step } else { base + step })
}

/// `atan(t) / t`, as a ratio.
fn atan_factor(t: u128) -> u128 {
    horner(&ATAN, mul_high(t, t), true)
}
