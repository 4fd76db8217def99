//! Shuffles, unpacking and alignment (SDM 1, 9.4.5, 10.4.4, 11.4.1.2, 12.6).

use super::lanes::{Lane, build, count, map, split, with_lane};
use super::operation::{combine, operations};
use super::vector::Vector;

operations! { select:
    combine mmx_m32_or_xmm {
        Punpcklbw = |a, b, _| interleave::<u8, V>(a, b, 0);
        Punpcklwd = |a, b, _| interleave::<u16, V>(a, b, 0);
        Punpckldq = |a, b, _| interleave::<u32, V>(a, b, 0);
    }
    combine mmx_or_xmm {
        Punpckhbw = |a, b, _| interleave::<u8, V>(a, b, count::<u8, V>() / 2);
        Punpckhwd = |a, b, _| interleave::<u16, V>(a, b, count::<u16, V>() / 2);
        Punpckhdq = |a, b, _| interleave::<u32, V>(a, b, count::<u32, V>() / 2);
        /// A negative selector clears its byte.
        Pshufb = |a, b, _| {
            let bytes = split::<u8, V>(a);
            map(b, |selector: u8| if selector & 0x80 != 0 { 0 } else { bytes[usize::from(selector) % V::SIZE] })
        };
        Palignr = |a, b, bytes| align(a, b, usize::from(bytes));
    }
    combine xmm {
        Punpcklqdq = |a, b, _| interleave::<u64, u128>(a, b, 0);
        Punpckhqdq = |a, b, _| interleave::<u64, u128>(a, b, 1);
        Unpcklps = |a, b, _| interleave::<u32, u128>(a, b, 0);
        Unpckhps = |a, b, _| interleave::<u32, u128>(a, b, 2);
        Unpcklpd = |a, b, _| interleave::<u64, u128>(a, b, 0);
        Unpckhpd = |a, b, _| interleave::<u64, u128>(a, b, 1);
        Pshufd = |_, b, order| {
            let b = split::<u32, u128>(b);
            build(|index| b[field(order, index)])
        };
        Pshuflw = |_, b, order| four_words(b, 0, order);
        Pshufhw = |_, b, order| four_words(b, 4, order);
        Shufps = |a, b, order| {
            let (a, b) = (split::<u32, u128>(a), split::<u32, u128>(b));
            build(|index| if index < 2 { a[field(order, index)] } else { b[field(order, index)] })
        };
        Shufpd = |a, b, order| {
            let (a, b) = (split::<u64, u128>(a), split::<u64, u128>(b));
            build(|index| if index == 0 { a[usize::from(order & 1)] } else { b[usize::from(order >> 1 & 1)] })
        };
    }
    combine mmx {
        Pshufw = |_, b, order| four_words(b, 0, order);
    }
}

/// The two-bit field of an immediate.
#[inline(always)]
fn field(imm: u8, index: usize) -> usize {
    usize::from(imm >> (2 * index) & 3)
}

/// Lanes of `a` and `b` by turns, from lane `first` on.
#[inline(always)]
fn interleave<L: Lane, V: Vector>(a: V, b: V, first: usize) -> V {
    let (a, b) = (split::<L, V>(a), split::<L, V>(b));
    build(|index| if index % 2 == 0 { a[first + index / 2] } else { b[first + index / 2] })
}

/// The four words from `first` on in the order of an immediate; the others stay.
#[inline(always)]
fn four_words<V: Vector>(vector: V, first: usize, order: u8) -> V {
    let words = split::<u16, V>(vector);
    (0..4).fold(vector, |shuffled, index| with_lane(shuffled, first + index, words[first + field(order, index)]))
}

/// `a` above `b`, shifted right by `bytes`.
#[inline(always)]
fn align<V: Vector>(a: V, b: V, bytes: usize) -> V {
    let (width, by) = (8 * V::SIZE as u32, 8 * bytes as u32);
    let from_b = b.wide().checked_shr(by);
    let from_a = if by <= width { a.wide().checked_shl(width - by) } else { a.wide().checked_shr(by - width) };
    V::narrow(from_a.unwrap_or(0) | from_b.unwrap_or(0))
}
