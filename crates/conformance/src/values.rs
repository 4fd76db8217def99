//! Operand values weighted towards the edges: where carries, signs, exponents and special encodings change.

use softfloat::F80;

use crate::rng::Rng;

/// What the lanes of a vector or of a memory operand mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Bits,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
}

impl Flavour {
    const ALL: [Self; 7] = [Self::Bits, Self::Int8, Self::Int16, Self::Int32, Self::Int64, Self::Float32, Self::Float64];

    /// Any flavour.
    pub fn any(rng: &mut Rng) -> Self {
        rng.pick(&Self::ALL)
    }
}

/// An integer of `bits` bits (8 to 64), zero-extended.
pub fn integer(rng: &mut Rng, bits: u32) -> u64 {
    let mask = u64::MAX >> (64 - bits);
    let edge = |rng: &mut Rng| match rng.below(8) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => mask >> 1,
        4 => (mask >> 1) + 1,
        5 => 1 << rng.below(u64::from(bits)),
        6 => mask >> rng.below(u64::from(bits)),
        _ => rng.below(16),
    };
    let value = match rng.below(10) {
        0..4 => edge(rng),
        4 => edge(rng).wrapping_add(rng.between(-2, 2) as u64),
        // Decimal digits, some of them no digits: for BCD and for nibble carries.
        5 => rng.next_u64() & 0x9999_9999_9999_9999 | rng.next_u64() & 0x0f0f,
        // Short numbers, so that products and quotients fit.
        6 => rng.next_u64() >> rng.below(64),
        _ => rng.next_u64(),
    };
    value & mask
}

/// The bits of a single-precision number.
pub fn float32(rng: &mut Rng) -> u32 {
    let sign = (rng.next_u64() as u32) & 1 << 31;
    let fraction = integer(rng, 32) as u32 & 0x7f_ffff;
    let magnitude = match rng.below(20) {
        0 => 0,
        1 => 0x7f80_0000,
        2 => 0x7fc0_0000 | fraction,
        3 => 0x7f80_0001 | fraction & 0x3f_ffff,
        4 => fraction,
        5 => 0x0080_0000 | fraction,
        6 => 0x7f00_0000 | fraction,
        7 => 0x3f80_0000,
        8 => 0x007f_ffff,
        // Around the limits of the integer conversions.
        9 => ((127 + rng.pick(&[14, 15, 30, 31, 62, 63])) << 23) | fraction,
        10 | 11 => (rng.below(255) as u32) << 23 | fraction,
        12 => (rng.below(64) as f32 / 2.0).to_bits(),
        _ => (97 + rng.below(60) as u32) << 23 | fraction,
    };
    sign | magnitude
}

/// The bits of a double-precision number.
pub fn float64(rng: &mut Rng) -> u64 {
    let sign = rng.next_u64() & 1 << 63;
    let fraction = integer(rng, 64) & ((1 << 52) - 1);
    let magnitude = match rng.below(20) {
        0 => 0,
        1 => 0x7ff << 52,
        2 => 0x7ff8 << 48 | fraction,
        3 => (0x7ff << 52 | fraction & ((1 << 51) - 1)) | 1,
        4 => fraction,
        5 => 1 << 52 | fraction,
        6 => 0x7fe << 52 | fraction,
        7 => 0x3ff << 52,
        8 => (1 << 52) - 1,
        // Around the limits of the integer conversions, and of single precision.
        9 => ((1023 + rng.pick(&[14, 15, 30, 31, 62, 63])) << 52) | fraction,
        10 => rng.below(2047) << 52 | fraction,
        11 => ((1023 + rng.pick(&[-150i64, -149, -148, -127, -126, -125, 127, 128])) as u64) << 52 | fraction,
        12 => (rng.below(64) as f64 / 2.0).to_bits(),
        _ => (990 + rng.below(66)) << 52 | fraction,
    };
    sign | magnitude
}

/// A double extended number, unsupported encodings included.
pub fn float80(rng: &mut Rng) -> F80 {
    const INTEGER: u64 = 1 << 63;
    let fraction = integer(rng, 64);
    let near = |rng: &mut Rng, around: i64, spread: i64| (around + rng.between(-spread, spread)) as u16;
    let (exponent, mantissa) = match rng.below(24) {
        0 => (0, 0),
        1 => (0x7fff, INTEGER),
        2 => (0x7fff, INTEGER | 1 << 62 | fraction),
        3 => (0x7fff, INTEGER | fraction & ((1 << 62) - 1) | 1),
        // Denormals, pseudo-denormals, the smallest normals.
        4 => (0, fraction & !INTEGER),
        5 => (0, fraction | INTEGER),
        6 => (1, fraction | INTEGER),
        7 => (0x7ffe, fraction | INTEGER),
        // Unnormals, pseudo-infinity, pseudo-NaN.
        8 => (near(rng, 0x3fff, 0x3000), fraction & !INTEGER),
        9 => (0x7fff, fraction & !INTEGER),
        10 => (0x3fff, INTEGER),
        // What fits in the other formats, or nearly.
        11 => (near(rng, 0x3fff + 128, 2), fraction | INTEGER),
        12 => (near(rng, 0x3fff - 127, 24), fraction | INTEGER),
        13 => (near(rng, 0x3fff + 1024, 2), fraction | INTEGER),
        14 => (near(rng, 0x3fff - 1023, 53), fraction | INTEGER),
        15 => (near(rng, 0x3fff + 16, 2), fraction | INTEGER),
        16 => (near(rng, 0x3fff + 31, 2), fraction | INTEGER),
        17 => (near(rng, 0x3fff + 62, 2), fraction | INTEGER),
        18 => (rng.below(0x7fff) as u16, fraction | INTEGER),
        // Small integers.
        19 => (0x3fff + 5, INTEGER | fraction & 0x7c00 << 48),
        _ => (near(rng, 0x3fff, 8), fraction | INTEGER),
    };
    F80 { mantissa, sign_exponent: exponent | (rng.next_u64() as u16 & 1) << 15 }
}

/// Bytes of the given flavour.
pub fn fill(rng: &mut Rng, flavour: Flavour, target: &mut [u8]) {
    let width = match flavour {
        Flavour::Int8 => 1,
        Flavour::Int16 => 2,
        Flavour::Int32 | Flavour::Float32 => 4,
        Flavour::Bits | Flavour::Int64 | Flavour::Float64 => 8,
    };
    for lane in target.chunks_mut(width) {
        let value = match flavour {
            Flavour::Bits => rng.next_u64(),
            Flavour::Float32 => u64::from(float32(rng)),
            Flavour::Float64 => float64(rng),
            _ => integer(rng, width as u32 * 8),
        };
        lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
    }
}

/// A vector register of the given flavour.
pub fn vector(rng: &mut Rng, flavour: Flavour) -> u128 {
    let mut bytes = [0; 16];
    fill(rng, flavour, &mut bytes);
    u128::from_le_bytes(bytes)
}
