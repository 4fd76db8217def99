//! The integers that memory and registers hold.

use std::fmt::Debug;

/// An unsigned integer of 1, 2, 4, 8 or 16 bytes, little-endian in memory.
pub trait Word: Copy + Eq + Default + Debug + 'static {
    /// Bytes.
    const SIZE: usize;
    /// Little-endian bytes, in the first `SIZE` places.
    fn to_le(self) -> [u8; 16];
    /// From the first `SIZE` of 16 little-endian bytes.
    fn from_le(bytes: [u8; 16]) -> Self;
    /// The low bits of a 64-bit value.
    fn of(value: u64) -> Self;
    /// Zero-extended to 64 bits (the low half of a 128-bit word).
    fn u64(self) -> u64;
}

macro_rules! word {
    ($($t:ty),*) => {$(
        impl Word for $t {
            const SIZE: usize = size_of::<$t>();
            #[inline(always)]
            fn to_le(self) -> [u8; 16] {
                u128::from(self).to_le_bytes()
            }
            #[inline(always)]
            fn from_le(bytes: [u8; 16]) -> Self {
                u128::from_le_bytes(bytes) as $t
            }
            #[inline(always)]
            fn of(value: u64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn u64(self) -> u64 {
                self as u64
            }
        }
    )*};
}
word!(u8, u16, u32, u64, u128);
