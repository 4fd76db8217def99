//! Stack instructions: stack pointers inside and at the edges of the stack, flag images, frames.

use iced_x86::Mnemonic as M;

use super::Family;
use crate::address;
use crate::generate::{Draft, gpr};

pub static FAMILY: Family = Family { name: "stack", prepare, finish };

/// TF, which a popped RFLAGS image must not have: it would trap after the next instruction.
const NOT_POPPED: u64 = 1 << 8;

fn prepare(draft: &mut Draft) {
    let pointer = address::stack_pointer(draft.rng, 16);
    draft.pin(gpr::RSP, pointer);
    match draft.form.code.mnemonic() {
        M::Enter => {
            let frame = address::stack_pointer(draft.rng, 32);
            draft.pin(gpr::RBP, frame);
            let level = draft.rng.pick(&[0, 0, 0, 1, 1, 2, 3, 31, 32, 255]);
            draft.immediate = Some(level);
        }
        M::Leave => {
            let frame = address::stack_pointer(draft.rng, 16);
            draft.pin(gpr::RBP, frame);
        }
        _ => {}
    }
}

fn finish(draft: &mut Draft) {
    if matches!(draft.form.code.mnemonic(), M::Popf | M::Popfq) {
        let image = draft.rng.next_u64() & if draft.rng.chance(50) { 0xffff } else { u64::MAX } & !NOT_POPPED;
        let pointer = draft.state.gpr[gpr::RSP];
        draft.patch(pointer, &image.to_le_bytes());
    }
}
