//! Every format opened into one shape, so that the arithmetic is written once.

use crate::{F32, F64, F80};

/// What kind of number an [`Unpacked`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Zero,
    /// Finite and nonzero.
    Finite,
    Infinity,
    Nan,
    /// x87 encodings with a missing integer bit: unnormal, pseudo-NaN, pseudo-infinity (SDM 1, 8.2.2).
    Unsupported,
}

/// An operand: `(-1)^sign * sig / 2^63 * 2^exp` when finite, with bit 63 of `sig` set.
/// A NaN keeps its significand in the same alignment: bit 63 set, bit 62 the quiet bit.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked {
    pub kind: Kind,
    pub sign: bool,
    pub denormal: bool,
    pub exp: i32,
    pub sig: u64,
}

pub(crate) const INTEGER_BIT: u64 = 1 << 63;
pub(crate) const QUIET_BIT: u64 = 1 << 62;

impl Unpacked {
    pub fn is_finite(&self) -> bool {
        self.kind == Kind::Finite
    }

    pub fn is_zero(&self) -> bool {
        self.kind == Kind::Zero
    }

    pub fn is_infinity(&self) -> bool {
        self.kind == Kind::Infinity
    }

    pub fn is_nan(&self) -> bool {
        self.kind == Kind::Nan
    }

    pub fn is_signaling(&self) -> bool {
        self.is_nan() && self.sig & QUIET_BIT == 0
    }

    pub fn is_unsupported(&self) -> bool {
        self.kind == Kind::Unsupported
    }

    fn denormal(sign: bool, sig: u64, exp_min: i32) -> Self {
        let shift = sig.leading_zeros();
        Self { kind: Kind::Finite, sign, denormal: true, exp: exp_min - shift as i32, sig: sig << shift }
    }

    fn special(kind: Kind, sign: bool, sig: u64) -> Self {
        Self { kind, sign, denormal: false, exp: 0, sig }
    }
}

/// The shape of a format.
pub trait Format: Copy {
    /// Bits of significand, the leading one included.
    const SIGNIFICAND_BITS: u32;
    /// Exponent of the smallest normal number.
    const EXP_MIN: i32;
    /// Exponent of the largest finite number; also the bias.
    const EXP_MAX: i32;
    /// Exponent adjustment of unmasked overflow and underflow (IEEE 754-1985, 7.3 and 7.4; SDM 1, 4.9.1.4).
    const EXP_WRAP: i32;

    /// Opens the value. `daz` makes denormals zeros.
    fn unpack(self, daz: bool) -> Unpacked;
    /// Opens a normal number; anything else is `None`. The quick way into the arithmetic.
    fn unpack_normal(self) -> Option<Unpacked>;
    /// Puts together a sign, a biased exponent and a significand aligned to bit 63.
    fn pack(sign: bool, biased: u32, sig: u64) -> Self;

    /// The infinity of that sign.
    fn infinity(sign: bool) -> Self {
        Self::pack(sign, 2 * Self::EXP_MAX as u32 + 1, INTEGER_BIT)
    }

    /// The zero of that sign.
    fn zero(sign: bool) -> Self {
        Self::pack(sign, 0, 0)
    }

    /// The NaN with that significand, made quiet.
    fn quiet_nan(sign: bool, sig: u64) -> Self {
        Self::pack(sign, 2 * Self::EXP_MAX as u32 + 1, sig | INTEGER_BIT | QUIET_BIT)
    }

    /// The QNaN floating-point indefinite (SDM 1, 4.8.3.7).
    fn indefinite() -> Self {
        Self::quiet_nan(true, 0)
    }
}

/// Opens a normal number of an interchange format with an implicit leading bit, given as bits.
#[inline(always)]
pub(crate) fn unpack_normal_interchange(bits: u64, fraction_bits: u32, exp_bits: u32) -> Option<Unpacked> {
    let exp_mask = (1u64 << exp_bits) - 1;
    let biased = bits >> fraction_bits & exp_mask;
    (biased.wrapping_sub(1) < exp_mask - 1).then(|| Unpacked {
        kind: Kind::Finite,
        sign: bits >> (fraction_bits + exp_bits) & 1 != 0,
        denormal: false,
        exp: biased as i32 - (exp_mask >> 1) as i32,
        sig: bits << (63 - fraction_bits) | INTEGER_BIT,
    })
}

/// Opens any number of an interchange format.
#[inline(always)]
pub(crate) fn unpack_interchange(bits: u64, fraction_bits: u32, exp_bits: u32, daz: bool) -> Unpacked {
    if let Some(normal) = unpack_normal_interchange(bits, fraction_bits, exp_bits) {
        return normal;
    }
    let sign = bits >> (fraction_bits + exp_bits) & 1 != 0;
    let sig = bits << (63 - fraction_bits) & !INTEGER_BIT;
    let exp_min = 2 - (1i32 << (exp_bits - 1));
    match (bits >> fraction_bits & 1 != 0, sig) {
        (false, 0) => Unpacked::special(Kind::Zero, sign, 0),
        (false, _) if daz => Unpacked::special(Kind::Zero, sign, 0),
        (false, _) => Unpacked::denormal(sign, sig, exp_min),
        (true, 0) => Unpacked::special(Kind::Infinity, sign, INTEGER_BIT),
        (true, _) => Unpacked::special(Kind::Nan, sign, sig | INTEGER_BIT),
    }
}

/// Bits of an interchange format, from a significand aligned to bit 63.
#[inline(always)]
pub(crate) fn pack_interchange(sign: bool, biased: u32, sig: u64, fraction_bits: u32, exp_bits: u32) -> u64 {
    u64::from(sign) << (fraction_bits + exp_bits) | u64::from(biased) << fraction_bits | (sig & !INTEGER_BIT) >> (63 - fraction_bits)
}

impl Format for F32 {
    const SIGNIFICAND_BITS: u32 = 24;
    const EXP_MIN: i32 = -126;
    const EXP_MAX: i32 = 127;
    const EXP_WRAP: i32 = 192;

    #[inline(always)]
    fn unpack(self, daz: bool) -> Unpacked {
        unpack_interchange(u64::from(self.0), 23, 8, daz)
    }

    #[inline(always)]
    fn unpack_normal(self) -> Option<Unpacked> {
        unpack_normal_interchange(u64::from(self.0), 23, 8)
    }

    #[inline(always)]
    fn pack(sign: bool, biased: u32, sig: u64) -> Self {
        Self(pack_interchange(sign, biased, sig, 23, 8) as u32)
    }
}

impl Format for F64 {
    const SIGNIFICAND_BITS: u32 = 53;
    const EXP_MIN: i32 = -1022;
    const EXP_MAX: i32 = 1023;
    const EXP_WRAP: i32 = 1536;

    #[inline(always)]
    fn unpack(self, daz: bool) -> Unpacked {
        unpack_interchange(self.0, 52, 11, daz)
    }

    #[inline(always)]
    fn unpack_normal(self) -> Option<Unpacked> {
        unpack_normal_interchange(self.0, 52, 11)
    }

    #[inline(always)]
    fn pack(sign: bool, biased: u32, sig: u64) -> Self {
        Self(pack_interchange(sign, biased, sig, 52, 11))
    }
}

impl Format for F80 {
    const SIGNIFICAND_BITS: u32 = 64;
    const EXP_MIN: i32 = -16382;
    const EXP_MAX: i32 = 16383;
    const EXP_WRAP: i32 = 24576;

    /// There is no DAZ on the x87. A pseudo-denormal is accepted, as a denormal (SDM 1, 8.2.2).
    #[inline(always)]
    fn unpack(self, _daz: bool) -> Unpacked {
        if let Some(normal) = self.unpack_normal() {
            return normal;
        }
        let sign = self.is_negative();
        let sig = self.mantissa;
        match (self.sign_exponent & 0x7fff, sig) {
            (0, 0) => Unpacked::special(Kind::Zero, sign, 0),
            (0, _) => Unpacked::denormal(sign, sig, Self::EXP_MIN),
            (0x7fff, INTEGER_BIT) => Unpacked::special(Kind::Infinity, sign, sig),
            (0x7fff, _) if sig & INTEGER_BIT != 0 => Unpacked::special(Kind::Nan, sign, sig),
            _ => Unpacked::special(Kind::Unsupported, sign, sig),
        }
    }

    #[inline(always)]
    fn unpack_normal(self) -> Option<Unpacked> {
        let biased = self.sign_exponent & 0x7fff;
        (biased.wrapping_sub(1) < 0x7ffe && self.mantissa & INTEGER_BIT != 0).then(|| Unpacked {
            kind: Kind::Finite,
            sign: self.is_negative(),
            denormal: false,
            exp: i32::from(biased) - Self::EXP_MAX,
            sig: self.mantissa,
        })
    }

    #[inline(always)]
    fn pack(sign: bool, biased: u32, sig: u64) -> Self {
        Self { mantissa: sig, sign_exponent: u16::from(sign) << 15 | biased as u16 }
    }
}
