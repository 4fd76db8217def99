//! Bit tests, with bit strings in memory that reach to either side of the operand; scans, with sources of few bits.

use iced_x86::OpKind;

use super::{Family, nothing};
use crate::generate::Draft;

pub static FAMILY: Family = Family { name: "bit", prepare: nothing, finish };

fn finish(draft: &mut Draft) {
    if draft.instruction.op_count() < 2 || draft.instruction.op1_kind() != OpKind::Register {
        return;
    }
    let register = draft.instruction.op1_register();
    if draft.instruction.op0_kind() == OpKind::Memory {
        // The offset moves the access by up to some hundred bytes.
        let offset = draft.rng.between(-2000, 2000);
        let value = if register.size() == 8 {
            offset as u64
        } else {
            offset as u64 & ((1 << (register.size() * 8)) - 1) | draft.rng.next_u64() << 32
        };
        // A register that is in the address too would send the access anywhere.
        draft.rejected = !draft.set_free(register.full_register().number(), value);
    } else if draft.rng.chance(20) {
        let value = draft.rng.pick(&[0, 1 << 63, 1 << 31, 1 << 15, 1]);
        draft.set_free(register.full_register().number(), value);
    }
}
