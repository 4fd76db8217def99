//! State images (FXSAVE, FXRSTOR, XSAVE, XRSTOR) and the FS and GS bases.

use iced_x86::Mnemonic as M;

use super::Family;
use crate::address;
use crate::generate::{Draft, gpr};
use crate::state::State;
use crate::values;

pub static FAMILY: Family = Family { name: "system", prepare, finish };

fn prepare(draft: &mut Draft) {
    if matches!(draft.form.code.mnemonic(), M::Xsave | M::Xsave64 | M::Xrstor | M::Xrstor64) {
        // The host may have more components enabled than the model's x87 and SSE.
        let mask = draft.rng.below(4);
        draft.pin(gpr::RAX, mask);
        draft.pin(gpr::RDX, 0);
    }
}

fn finish(draft: &mut Draft) {
    match draft.form.code.mnemonic() {
        M::Fxrstor | M::Fxrstor64 | M::Xrstor | M::Xrstor64 => restore_image(draft),
        M::Xsave | M::Xsave64 => {
            // A header as an earlier XSAVE left it.
            if let Some(at) = draft.target {
                let header = [draft.rng.below(4), 0, 0, 0, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
                draft.patch(at.wrapping_add(512), &header);
            }
        }
        M::Wrfsbase | M::Wrgsbase if draft.rng.chance(80) => {
            let base = address::segment_base(draft.rng);
            draft.set_free(draft.instruction.op0_register().full_register().number(), base);
        }
        _ => {}
    }
}

/// An image of another state, now and then with a bad MXCSR or a bad header.
fn restore_image(draft: &mut Draft) {
    let Some(at) = draft.target else { return };
    let mut other = State { x87: super::x87::registers(draft.rng), mxcsr: super::sse::mxcsr(draft.rng), ..State::default() };
    for register in &mut other.xmm {
        *register = values::vector(draft.rng, draft.flavour);
    }
    if draft.rng.chance(8) {
        other.mxcsr |= 1 << draft.rng.pick(&[16, 18, 31]);
    }
    let mut image = other.to_fx_image().to_vec();
    let mut header = [draft.rng.below(4), 0, 0, 0, 0, 0, 0, 0];
    if draft.rng.chance(12) {
        header[draft.rng.below(8) as usize] |= 1 << draft.rng.pick(&[8, 20, 40, 61]);
    }
    image.extend(header.map(u64::to_le_bytes).concat());
    image.truncate(draft.size);
    draft.patch(at, &image);
}
