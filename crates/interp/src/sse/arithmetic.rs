//! Integer arithmetic on lanes (SDM 1, 9.4.2, 9.4.3, 11.4.2, 12.6, 12.7, 12.9).

use super::lanes::{self, Lane, build, count, each, map, split};
use super::operation::{combine, operations};
use super::vector::Vector;

operations! { select:
    combine mmx_or_xmm {
        Paddb = |a, b, _| lanes::add::<u8, V>(a, b);
        Paddw = |a, b, _| lanes::add::<u16, V>(a, b);
        Paddd = |a, b, _| each(a, b, u32::wrapping_add);
        Paddq = |a, b, _| each(a, b, u64::wrapping_add);
        Paddsb = |a, b, _| each(a, b, i8::saturating_add);
        Paddsw = |a, b, _| each(a, b, i16::saturating_add);
        Paddusb = |a, b, _| each(a, b, u8::saturating_add);
        Paddusw = |a, b, _| each(a, b, u16::saturating_add);
        Psubb = |a, b, _| lanes::subtract::<u8, V>(a, b);
        Psubw = |a, b, _| lanes::subtract::<u16, V>(a, b);
        Psubd = |a, b, _| each(a, b, u32::wrapping_sub);
        Psubq = |a, b, _| each(a, b, u64::wrapping_sub);
        Psubsb = |a, b, _| each(a, b, i8::saturating_sub);
        Psubsw = |a, b, _| each(a, b, i16::saturating_sub);
        Psubusb = |a, b, _| each(a, b, u8::saturating_sub);
        Psubusw = |a, b, _| each(a, b, u16::saturating_sub);

        Pmullw = |a, b, _| each(a, b, i16::wrapping_mul);
        Pmulhw = |a, b, _| each(a, b, |a: i16, b| ((i32::from(a) * i32::from(b)) >> 16) as i16);
        Pmulhuw = |a, b, _| each(a, b, |a: u16, b| ((u32::from(a) * u32::from(b)) >> 16) as u16);
        /// The high half of twice the product, rounded.
        Pmulhrsw = |a, b, _| each(a, b, |a: i16, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16);
        Pmuludq = |a, b, _| each(a, b, |a: u64, b| u64::from(a as u32) * u64::from(b as u32));
        Pmaddwd = |a, b, _| each(a, b, |a: i32, b| {
            let low = i32::from(a as i16) * i32::from(b as i16);
            low.wrapping_add((a >> 16) * (b >> 16))
        });
        /// Unsigned bytes by signed bytes.
        Pmaddubsw = |a, b, _| each(a, b, |a: u16, b| {
            let low = i32::from(a as u8) * i32::from(b as i8);
            let high = i32::from(a >> 8) * i32::from(b as i16 >> 8);
            clamp(low + high) as u16
        });

        Pavgb = |a, b, _| each(a, b, |a: u8, b| (u16::from(a) + u16::from(b)).div_ceil(2) as u8);
        Pavgw = |a, b, _| each(a, b, |a: u16, b| (u32::from(a) + u32::from(b)).div_ceil(2) as u16);
        Pminub = |a, b, _| each(a, b, u8::min);
        Pmaxub = |a, b, _| each(a, b, u8::max);
        Pminsw = |a, b, _| each(a, b, i16::min);
        Pmaxsw = |a, b, _| each(a, b, i16::max);
        Psadbw = |a, b, _| each(a, b, |a: u64, b| a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| u64::from(a.abs_diff(b))).sum());

        Pabsb = |_, b, _| map(b, i8::wrapping_abs);
        Pabsw = |_, b, _| map(b, i16::wrapping_abs);
        Pabsd = |_, b, _| map(b, i32::wrapping_abs);
        Psignb = |a, b, _| each(a, b, |a: i8, b| a.wrapping_mul(b.signum()));
        Psignw = |a, b, _| each(a, b, |a: i16, b| a.wrapping_mul(b.signum()));
        Psignd = |a, b, _| each(a, b, |a: i32, b| a.wrapping_mul(b.signum()));

        Phaddw = |a, b, _| pairs(a, b, i16::wrapping_add);
        Phaddd = |a, b, _| pairs(a, b, i32::wrapping_add);
        Phaddsw = |a, b, _| pairs(a, b, i16::saturating_add);
        Phsubw = |a, b, _| pairs(a, b, i16::wrapping_sub);
        Phsubd = |a, b, _| pairs(a, b, i32::wrapping_sub);
        Phsubsw = |a, b, _| pairs(a, b, i16::saturating_sub);

        Pcmpeqb = |a, b, _| lanes::equal::<u8, V>(a, b);
        Pcmpeqw = |a, b, _| lanes::equal::<u16, V>(a, b);
        Pcmpeqd = |a, b, _| lanes::equal::<u32, V>(a, b);
        Pcmpgtb = |a, b, _| each(a, b, |a: i8, b| -i8::from(a > b));
        Pcmpgtw = |a, b, _| each(a, b, |a: i16, b| -i16::from(a > b));
        Pcmpgtd = |a, b, _| each(a, b, |a: i32, b| -i32::from(a > b));
    }
    combine xmm {
        Pmulld = |a, b, _| each(a, b, i32::wrapping_mul);
        Pmuldq = |a, b, _| each(a, b, |a: i64, b| i64::from(a as i32) * i64::from(b as i32));
        Pminsb = |a, b, _| each(a, b, i8::min);
        Pmaxsb = |a, b, _| each(a, b, i8::max);
        Pminuw = |a, b, _| each(a, b, u16::min);
        Pmaxuw = |a, b, _| each(a, b, u16::max);
        Pminsd = |a, b, _| each(a, b, i32::min);
        Pmaxsd = |a, b, _| each(a, b, i32::max);
        Pminud = |a, b, _| each(a, b, u32::min);
        Pmaxud = |a, b, _| each(a, b, u32::max);
        Pcmpeqq = |a, b, _| each(a, b, |a: i64, b| -i64::from(a == b));
        Pcmpgtq = |a, b, _| each(a, b, |a: i64, b| -i64::from(a > b));
        Phminposuw = |_, b, _| smallest(b);
        Mpsadbw = |a, b, imm| sliding_differences(a, b, imm);
    }
}

/// Saturates to a signed word.
fn clamp(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `f` on neighbours: the lower half of the result is from `a`, the upper from `b`.
#[inline(always)]
fn pairs<L: Lane, V: Vector>(a: V, b: V, f: impl Fn(L, L) -> L) -> V {
    let half = count::<L, V>() / 2;
    let (a, b) = (split::<L, V>(a), split::<L, V>(b));
    build(|index| if index < half { f(a[2 * index], a[2 * index + 1]) } else { f(b[2 * (index - half)], b[2 * (index - half) + 1]) })
}

/// The smallest unsigned word, and above it the index of its first occurrence.
fn smallest(words: u128) -> u128 {
    let words = split::<u16, u128>(words);
    let (index, value) = words.into_iter().enumerate().min_by_key(|&(_, word)| word).expect("eight words have a smallest");
    (index as u128) << 16 | u128::from(value)
}

/// Eight sums of four absolute differences: a window sliding over `a` from the offset in `imm` bit 2, against the four bytes of `b` that bits 1:0 name.
fn sliding_differences(a: u128, b: u128, imm: u8) -> u128 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let (start, fixed) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    build::<u16, u128>(|index| (0..4).map(|byte| u16::from(a[start + index + byte].abs_diff(b[fixed + byte]))).sum())
}
