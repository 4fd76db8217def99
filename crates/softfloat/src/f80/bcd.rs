//! Packed decimal integers: 18 digits, least significant first, then a byte whose top bit is the sign (SDM 1, 4.7).

use super::F80;
use crate::round::{Real, round};
use crate::unpacked::Format;
use crate::{Env, Exceptions, integer};

/// The packed BCD integer indefinite (SDM 1, table 4-4).
const INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];
const LIMIT: u64 = 1_000_000_000_000_000_000;

impl F80 {
    /// From packed decimal, exactly (FBLD). Digits above nine are undefined by the manual; here each counts by its value.
    #[must_use]
    pub fn from_bcd(bytes: [u8; 10]) -> Self {
        let sign = bytes[9] & 0x80 != 0;
        let magnitude = bytes[..9].iter().rev().fold(0u64, |sum, byte| sum * 100 + u64::from(byte >> 4) * 10 + u64::from(byte & 15));
        if magnitude == 0 {
            return Self::zero(sign);
        }
        round(Real::normalized(sign, 63, u128::from(magnitude) << 64), &mut Env::default())
    }

    /// To packed decimal, rounded by `env` (FBSTP). More than 18 digits, or a NaN: the indefinite and invalid.
    pub fn to_bcd(self, env: &mut Env) -> [u8; 10] {
        let mut attempt = *env;
        let integer = integer::to_signed(self.unpack(false), 64, env.rounding, &mut attempt);
        let mut magnitude = integer.unsigned_abs();
        if magnitude >= LIMIT {
            env.raise(Exceptions::INVALID);
            env.rounded_up = false;
            return INDEFINITE;
        }
        *env = attempt;
        let mut bytes = [0; 10];
        for byte in &mut bytes[..9] {
            let pair = (magnitude % 100) as u8;
            *byte = ((pair / 10) << 4) | (pair % 10);
            magnitude /= 100;
        }
        bytes[9] = u8::from(self.is_negative()) << 7;
        bytes
    }
}
