//! Shifts of lanes and of whole registers (SDM 1, 9.4.7, 11.4.2). Counts are unsigned; one at or beyond the lane's width
//! clears the lane, or fills it with its sign.

use cpu::Word;

use super::lanes::map;
use super::operation::{combine, operations};

operations! { select:
    combine mmx_or_xmm_or_imm {
        Psllw = |a, b, _| map(a, |lane: u16| within::<16>(b).map_or(0, |by| lane << by));
        Pslld = |a, b, _| map(a, |lane: u32| within::<32>(b).map_or(0, |by| lane << by));
        Psllq = |a, b, _| map(a, |lane: u64| within::<64>(b).map_or(0, |by| lane << by));
        Psrlw = |a, b, _| map(a, |lane: u16| within::<16>(b).map_or(0, |by| lane >> by));
        Psrld = |a, b, _| map(a, |lane: u32| within::<32>(b).map_or(0, |by| lane >> by));
        Psrlq = |a, b, _| map(a, |lane: u64| within::<64>(b).map_or(0, |by| lane >> by));
        Psraw = |a, b, _| map(a, |lane: i16| lane >> within::<16>(b).unwrap_or(15));
        Psrad = |a, b, _| map(a, |lane: i32| lane >> within::<32>(b).unwrap_or(31));
    }
    combine xmm_imm {
        Pslldq = |a, bytes, _| if bytes < 16 { a << (8 * bytes) } else { 0 };
        Psrldq = |a, bytes, _| if bytes < 16 { a >> (8 * bytes) } else { 0 };
    }
}

/// The shift count in the low 64 bits of `count`, if it is below `WIDTH`.
#[inline(always)]
fn within<const WIDTH: u64>(count: impl Word) -> Option<u32> {
    let count = count.u64();
    (count < WIDTH).then_some(count as u32)
}
