//! Shifts and rotates: counts around zero, one, and the operand's width.

use super::Family;
use crate::generate::{Draft, gpr};

pub static FAMILY: Family = Family { name: "shift", prepare, finish };

fn prepare(draft: &mut Draft) {
    draft.immediate = Some(count(draft));
}

fn finish(draft: &mut Draft) {
    let value = draft.state.gpr[gpr::RCX] & !0xff | u64::from(count(draft));
    draft.set_free(gpr::RCX, value);
}

fn count(draft: &mut Draft) -> u8 {
    match draft.rng.below(4) {
        0 => draft.rng.pick(&[0, 1, 2, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 34, 63, 64, 65, 128, 255]),
        1 => 1,
        2 => draft.rng.below(32) as u8,
        _ => draft.rng.next_u64() as u8,
    }
}
