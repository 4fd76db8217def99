//! Random operands weighted to the edges, and the number of cases: fewer in debug, where the whole suite must stay quick.

#![expect(dead_code, reason = "each test file draws the operands it needs")]

use softfloat::{F32, F64, F80};

/// Cases of one operation: a few seconds for a whole file in debug, a million each in release.
pub const CASES: usize = if cfg!(debug_assertions) { 120_000 } else { 1_500_000 };

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A fraction of `bits`: random, sparse, or a long run of equal bits.
    fn fraction(&mut self, bits: u32) -> u64 {
        let mask = u64::MAX >> (64 - bits);
        let one = |random: &mut Self| 1u64 << random.below(u64::from(bits));
        mask & match self.below(8) {
            0 => 0,
            1 => one(self),
            2 => one(self) | one(self),
            3 => one(self).wrapping_neg(),
            4 => one(self) - 1,
            5 => self.next() << self.below(u64::from(bits)),
            _ => self.next(),
        }
    }

    /// An exponent field: the ends, the middle, or anywhere.
    fn exponent(&mut self, bits: u32) -> u64 {
        let max = (1u64 << bits) - 1;
        match self.below(10) {
            0 => self.below(3),
            1 => max - self.below(3),
            2 => self.below(70).min(max),
            3 => max - self.below(70).min(max),
            4..=6 => (max / 2).wrapping_add(self.below(71)).wrapping_sub(35) & max,
            _ => self.next() & max,
        }
    }

    pub fn f32(&mut self) -> F32 {
        F32((self.below(2) << 31 | self.exponent(8) << 23 | self.fraction(23)) as u32)
    }

    pub fn f64(&mut self) -> F64 {
        F64(self.below(2) << 63 | self.exponent(11) << 52 | self.fraction(52))
    }

    /// Unsupported encodings come up too.
    pub fn f80(&mut self) -> F80 {
        let exponent = self.exponent(15);
        let integer_bit = exponent != 0 && self.below(30) != 0 || exponent == 0 && self.below(4) == 0;
        F80 { mantissa: u64::from(integer_bit) << 63 | self.fraction(63), sign_exponent: (self.below(2) << 15 | exponent) as u16 }
    }

    /// A second operand: often near the first, so that sums cancel and remainders are small.
    pub fn f80_near(&mut self, other: F80) -> F80 {
        match self.below(4) {
            0 => {
                let exponent = u64::from(other.sign_exponent & 0x7fff).wrapping_add(self.below(141)).wrapping_sub(70).clamp(0, 0x7fff);
                F80 { mantissa: u64::from(exponent != 0) << 63 | self.fraction(63), sign_exponent: (self.below(2) << 15 | exponent) as u16 }
            }
            1 => F80 { mantissa: other.mantissa ^ self.below(4), sign_exponent: other.sign_exponent ^ (self.below(2) << 15) as u16 },
            _ => self.f80(),
        }
    }

    pub fn f64_near(&mut self, other: F64) -> F64 {
        match self.below(4) {
            0 => F64(other.0.wrapping_add(self.below(120) << 52).wrapping_sub(60 << 52) ^ self.below(2) << 63 ^ self.fraction(52)),
            1 => F64(other.0 ^ self.below(4) ^ self.below(2) << 63),
            _ => self.f64(),
        }
    }

    pub fn f32_near(&mut self, other: F32) -> F32 {
        match self.below(4) {
            0 => F32(other.0.wrapping_add((self.below(60) << 23) as u32).wrapping_sub(30 << 23)
                ^ (self.below(2) << 31 ^ self.fraction(23)) as u32),
            1 => F32(other.0 ^ (self.below(4) ^ self.below(2) << 31) as u32),
            _ => self.f32(),
        }
    }
}
