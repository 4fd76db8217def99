//! Compare and exchange: accumulators that match as often as not.

use iced_x86::Mnemonic as M;

use super::{Family, nothing};
use crate::generate::{Draft, gpr};

pub static FAMILY: Family = Family { name: "atomic", prepare: nothing, finish };

fn finish(draft: &mut Draft) {
    if draft.rng.chance(50) {
        return;
    }
    match draft.instruction.mnemonic() {
        M::Cmpxchg => {
            let upper = if draft.size < 4 { draft.rng.next_u64() << 16 } else { 0 };
            let value = draft.operand_value(0) | upper & !0xffff;
            draft.set_free(gpr::RAX, value);
        }
        M::Cmpxchg8b | M::Cmpxchg16b => {
            let Some(at) = draft.target else { return };
            let half = draft.size / 2;
            let halves = [gpr::RAX, gpr::RDX].map(|register| draft.state.gpr[register].to_le_bytes());
            draft.patch(at, &[&halves[0][..half], &halves[1][..half]].concat());
        }
        _ => {}
    }
}
