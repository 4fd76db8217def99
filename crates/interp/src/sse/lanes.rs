//! Vectors as lanes. A 64-bit vector is handled as the low half of a 128-bit one, so that every lane operation is written once.

use std::ops::{Index, IndexMut};

use softfloat::{F32, F64};

use super::vector::Vector;

/// What a vector can be divided into.
pub(crate) trait Lane: Copy {
    /// All lanes of 128 bits, the lowest first.
    type All: Copy + Index<usize, Output = Self> + IndexMut<usize>;
    /// Width of one.
    const WIDTH: usize;
    /// The lanes of a vector.
    fn split(vector: u128) -> Self::All;
    /// The vector of these lanes.
    fn join(lanes: Self::All) -> u128;
}

macro_rules! lane {
    ($($t:ty as $bits:ty, $of:expr, $into:expr;)*) => {$(
        impl Lane for $t {
            type All = [$t; 16 / size_of::<$t>()];
            const WIDTH: usize = 8 * size_of::<$t>();
            #[inline(always)]
            fn split(vector: u128) -> Self::All {
                std::array::from_fn(|index| $of((vector >> (index * Self::WIDTH)) as $bits))
            }
            #[inline(always)]
            fn join(lanes: Self::All) -> u128 {
                let mut vector = 0;
                for (index, lane) in lanes.into_iter().enumerate() {
                    vector |= u128::from($into(lane)) << (index * Self::WIDTH);
                }
                vector
            }
        }
    )*};
}

lane! {
    u8 as u8, |bits| bits, |lane| lane;
    i8 as u8, |bits| bits as i8, |lane| lane as u8;
    u16 as u16, |bits| bits, |lane| lane;
    i16 as u16, |bits| bits as i16, |lane| lane as u16;
    u32 as u32, |bits| bits, |lane| lane;
    i32 as u32, |bits| bits as i32, |lane| lane as u32;
    u64 as u64, |bits| bits, |lane| lane;
    i64 as u64, |bits| bits as i64, |lane| lane as u64;
    F32 as u32, F32, |lane: F32| lane.0;
    F64 as u64, F64, |lane: F64| lane.0;
}

/// Number of lanes in a vector.
#[inline(always)]
pub(crate) const fn count<L: Lane, V: Vector>() -> usize {
    8 * V::SIZE / L::WIDTH
}

/// The lanes of a vector; those beyond its width are zero.
#[inline(always)]
pub(crate) fn split<L: Lane, V: Vector>(vector: V) -> L::All {
    L::split(vector.wide())
}

/// The vector whose lane `index` is `lane(index)`.
#[inline(always)]
pub(crate) fn build<L: Lane, V: Vector>(mut lane: impl FnMut(usize) -> L) -> V {
    let mut lanes = L::split(0);
    for index in 0..count::<L, V>() {
        lanes[index] = lane(index);
    }
    V::narrow(L::join(lanes))
}

/// `f` on each pair of lanes.
#[inline(always)]
pub(crate) fn each<L: Lane, V: Vector>(a: V, b: V, mut f: impl FnMut(L, L) -> L) -> V {
    let (a, b) = (split::<L, V>(a), split::<L, V>(b));
    build(|index| f(a[index], b[index]))
}

/// `f` on each lane.
#[inline(always)]
pub(crate) fn map<L: Lane, V: Vector>(a: V, mut f: impl FnMut(L) -> L) -> V {
    let a = split::<L, V>(a);
    build(|index| f(a[index]))
}

/// `vector` with its lowest lane replaced.
#[inline(always)]
pub(crate) fn with_low<L: Lane>(vector: u128, lane: L) -> u128 {
    with_lane(vector, 0, lane)
}

/// `vector` with lane `index` replaced.
#[inline(always)]
pub(crate) fn with_lane<L: Lane, V: Vector>(vector: V, index: usize, lane: L) -> V {
    let mut lanes = split::<L, V>(vector);
    lanes[index] = lane;
    V::narrow(L::join(lanes))
}

/// Bit `index` of the result is the sign of lane `index`.
#[inline(always)]
pub(crate) fn signs<L: Lane, V: Vector>(vector: V) -> u64 {
    let bits = vector.wide();
    (0..count::<L, V>()).fold(0, |mask, index| mask | ((bits >> (index * L::WIDTH + L::WIDTH - 1)) as u64 & 1) << index)
}

// The commonest operations on bytes and words, on all lanes in one integer.

/// The highest bit of every lane.
const fn tops<L: Lane>() -> u128 {
    (u128::MAX / (u128::MAX >> (128 - L::WIDTH))) << (L::WIDTH - 1)
}

/// [`signs`] of bytes.
#[inline(always)]
pub(crate) fn byte_signs<V: Vector>(vector: V) -> u64 {
    // The product brings the sign of byte `index` to bit 56 + `index`; no two bits meet below, so nothing carries.
    let eight = |bytes: u64| (bytes >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let bits = vector.wide();
    eight(bits as u64) | eight((bits >> 64) as u64) << 8
}

/// Sums that wrap: carries out of the lower bits are kept from the next lane by adding the tops apart.
#[inline(always)]
pub(crate) fn add<L: Lane, V: Vector>(a: V, b: V) -> V {
    let (a, b, tops) = (a.wide(), b.wide(), const { tops::<L>() });
    V::narrow((a & !tops).wrapping_add(b & !tops) ^ (a ^ b) & tops)
}

/// Differences that wrap.
#[inline(always)]
pub(crate) fn subtract<L: Lane, V: Vector>(a: V, b: V) -> V {
    let (a, b, tops) = (a.wide(), b.wide(), const { tops::<L>() });
    V::narrow((a | tops).wrapping_sub(b & !tops) ^ (a ^ !b) & tops)
}

/// Ones in every bit of the lanes that are equal.
#[inline(always)]
pub(crate) fn equal<L: Lane, V: Vector>(a: V, b: V) -> V {
    let (difference, tops) = (a.wide() ^ b.wide(), const { tops::<L>() });
    // A lane's top survives only if no bit of the lane differs.
    let same = !((difference & !tops).wrapping_add(!tops) | difference | !tops);
    V::narrow((same << 1).wrapping_sub(same >> (L::WIDTH - 1)))
}
