//! Fixed-point and wide floating-point arithmetic for the series.
//!
//! A *fraction* is a `u128` counting 2^-128 (below 1); a *ratio* counts 2^-127 (below 2). A [`Real`] carries 128 bits of significand.

use crate::Rounding;
use crate::arith::{Outcome, sum};
use crate::round::Real;

/// 1 as a ratio.
pub(super) const ONE: u128 = 1 << 127;

/// The high half of the 256-bit product, cut off: fraction * fraction, or fraction * ratio.
pub(super) const fn mul_high(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let middle = a1 * b0 + ((a0 * b0) >> 64);
    let middle_low = a0 * b1 + (middle & LOW);
    a1 * b1 + (middle >> 64) + (middle_low >> 64)
}

/// `a / b` as a fraction, cut off; needs `a < b`. One bit per step.
pub(super) fn divide(a: u128, b: u128) -> u128 {
    let (mut rest, mut quotient) = (a, 0u128);
    for _ in 0..128 {
        let carry = rest >> 127 != 0;
        rest <<= 1;
        let fits = carry || rest >= b;
        if fits {
            rest = rest.wrapping_sub(b);
        }
        quotient = quotient << 1 | u128::from(fits);
    }
    quotient
}

/// `c[0] + c[1] z + c[2] z^2 + ...`, or with alternating signs; coefficients and result are ratios, `z` a fraction.
pub(super) fn horner(coefficients: &[u128], z: u128, alternating: bool) -> u128 {
    coefficients.iter().rev().fold(0, |sum, &c| if alternating { c - mul_high(sum, z) } else { c + mul_high(sum, z) })
}

/// `1/1!, 1/(1+step)!, 1/(1+2 step)!, ...` as ratios, from `first` on: factorials of `first`, `first + step`, ...
pub(super) const fn inverse_factorials<const N: usize>(first: u128, step: u128) -> [u128; N] {
    let mut table = [0; N];
    let (mut value, mut factor, mut index) = (ONE, 1, 0);
    while index < N {
        while factor <= first + step * index as u128 {
            value /= factor;
            factor += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// `1, 1/3, 1/5, ...` as ratios.
pub(super) const fn inverse_odds<const N: usize>() -> [u128; N] {
    let mut table = [0; N];
    let mut index = 0;
    while index < N {
        table[index] = ONE / (2 * index as u128 + 1);
        index += 1;
    }
    table
}

/// The sum of two reals; it must not be zero.
pub(super) fn plus(a: Real, b: Real) -> Real {
    let term = |it: Real| Real { sig: it.sig >> 1, ..it };
    match sum(term(a), term(b), Rounding::Nearest) {
        Outcome::Real(real) => real,
        _ => unreachable!("the series never add opposite values"),
    }
}

impl Real {
    /// As a fraction, for a magnitude below 1; what lies below 2^-128 is cut off.
    pub(super) fn fraction(&self) -> u128 {
        self.sig.checked_shr((-1 - self.exp) as u32).unwrap_or(0)
    }

    /// The product, cut off to 127 bits or more.
    pub(super) fn times(&self, other: &Self) -> Self {
        Self::normalized(self.sign ^ other.sign, self.exp + other.exp + 1, mul_high(self.sig, other.sig))
    }

    /// The product with a positive ratio.
    pub(super) fn times_ratio(&self, ratio: u128) -> Self {
        self.times(&Self::normalized(false, 0, ratio))
    }

    /// The quotient, cut off to 127 bits or more.
    pub(super) fn over(&self, divisor: &Self) -> Self {
        let (sig, exp) = if self.sig >= divisor.sig { (self.sig >> 1, self.exp + 1) } else { (self.sig, self.exp) };
        Self::normalized(self.sign ^ divisor.sign, exp - divisor.exp - 1, divide(sig, divisor.sig))
    }

    /// Marked as not exact. Every value that a series makes is irrational.
    pub(super) fn inexact(self) -> Self {
        Self { sig: self.sig | 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_product_counts_every_carry() {
        assert_eq!(mul_high(u128::MAX, u128::MAX), u128::MAX - 1);
        assert_eq!(mul_high(1 << 64, 1 << 64), 1);
        assert_eq!(mul_high(ONE, u128::MAX), ONE - 1);
    }

    #[test]
    fn division_undoes_multiplication() {
        let (a, b) = (0x1234_5678_9abc_def0_u128 << 60, 0xfedc_ba98_7654_3210_0123_4567_89ab_cdef_u128);
        let quotient = divide(a, b);
        assert!(a - mul_high(quotient, b) <= 1);
        assert_eq!(divide(1, 3), u128::MAX / 3);
        assert_eq!(divide(u128::MAX - 1, u128::MAX), u128::MAX - 1);
    }

    #[test]
    fn factorials_and_odds_start_where_told() {
        assert_eq!(inverse_factorials::<3>(1, 2), [ONE, ONE / 6, ONE / 6 / 20]);
        assert_eq!(inverse_factorials::<3>(0, 2), [ONE, ONE / 2, ONE / 24]);
        assert_eq!(inverse_odds::<2>(), [ONE, ONE / 3]);
    }
}
