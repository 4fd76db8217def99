//! AES-NI (SDM 1, 12.15; FIPS 197). The state's byte `r + 4c` is row `r` of column `c`.
//!
//! The substitution and the mixing of a column are one table look-up per byte, as FIPS 197's matrices allow. PCLMULQDQ and SHA are in no model.

use crate::sse::lanes::{build, map, split};
use crate::sse::operation::{combine, operations};

operations! { select:
    combine xmm {
        Aesenc = |state, key, _| columns(state, 1, |bytes| mix(&ENCRYPT, bytes)) ^ key;
        Aesenclast = |state, key, _| columns(state, 1, |bytes| u32::from_le_bytes(bytes.map(substitute))) ^ key;
        Aesdec = |state, key, _| columns(state, 3, |bytes| mix(&DECRYPT, bytes)) ^ key;
        Aesdeclast = |state, key, _| columns(state, 3, |bytes| u32::from_le_bytes(bytes.map(|byte| INVERSE_SBOX[usize::from(byte)]))) ^ key;
        /// The table substitutes back what is substituted first, which leaves the mixing.
        Aesimc = |_, state, _| map(state, |column: u32| mix(&DECRYPT, column.to_le_bytes().map(substitute)));
        Aeskeygenassist = |_, key, constant| {
            let words = split::<u32, u128>(key);
            build(|index| {
                let substituted = u32::from_le_bytes(words[index | 1].to_le_bytes().map(substitute));
                // Words 1 and 3 of the key, words 1 and 3 of the result with a rotation and the round constant.
                if index % 2 == 0 { substituted } else { substituted.rotate_right(8) ^ u32::from(constant) }
            })
        };
    }
}

/// Each column of the result from the bytes that the row shift brings into it: row `r` comes from `r * step` columns further.
#[inline(always)]
fn columns(state: u128, step: usize, f: impl Fn([u8; 4]) -> u32) -> u128 {
    let bytes = state.to_le_bytes();
    build(|column| f(std::array::from_fn(|row| bytes[(column + row * step) % 4 * 4 + row])))
}

/// The sum of what each byte contributes to its column; `table` is for row 0.
#[inline(always)]
fn mix(table: &[u32; 256], bytes: [u8; 4]) -> u32 {
    (0..4).fold(0, |column, row| column ^ table[usize::from(bytes[row])].rotate_left(8 * row as u32))
}

#[inline(always)]
fn substitute(byte: u8) -> u8 {
    SBOX[usize::from(byte)]
}

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2).
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    product
}

/// FIPS 197, 5.1.1: the inverse (x^254, so that 0 stays 0), then the affine map.
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let x = byte as u8;
        let (mut inverse, mut power, mut exponent) = (1, x, 254);
        while exponent != 0 {
            if exponent & 1 != 0 {
                inverse = multiply(inverse, power);
            }
            power = multiply(power, power);
            exponent >>= 1;
        }
        table[byte] = inverse ^ inverse.rotate_left(1) ^ inverse.rotate_left(2) ^ inverse.rotate_left(3) ^ inverse.rotate_left(4) ^ 0x63;
        byte += 1;
    }
    table
};

const INVERSE_SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[SBOX[byte] as usize] = byte as u8;
        byte += 1;
    }
    table
};

/// SubBytes, then the first column of MixColumns' matrix.
const ENCRYPT: [u32; 256] = contributions(&SBOX, [2, 1, 1, 3]);
/// InvSubBytes, then the first column of InvMixColumns' matrix.
const DECRYPT: [u32; 256] = contributions(&INVERSE_SBOX, [14, 9, 13, 11]);

const fn contributions(substitution: &[u8; 256], factors: [u8; 4]) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let x = substitution[byte];
        table[byte] =
            u32::from_le_bytes([multiply(x, factors[0]), multiply(x, factors[1]), multiply(x, factors[2]), multiply(x, factors[3])]);
        byte += 1;
    }
    table
}
