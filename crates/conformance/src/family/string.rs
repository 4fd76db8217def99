//! String instructions: small counts, both directions, operands that run into the neighbouring page, equal runs to compare.

use iced_x86::Mnemonic as M;

use super::Family;
use crate::address;
use crate::arena;
use crate::form::Prefix;
use crate::generate::{Draft, gpr};

pub static FAMILY: Family = Family { name: "string", prepare, finish };

/// Most iterations of a repeated instruction.
const COUNT: u64 = 24;

fn prepare(draft: &mut Draft) {
    let repeated = draft.form.prefix != Prefix::None;
    let count = if repeated { draft.rng.below(COUNT + 1) } else { draft.rng.next_u64() };
    let garbage = |draft: &mut Draft| draft.rng.next_u64() & !draft.address_mask();
    let value = count | garbage(draft);
    draft.pin(gpr::RCX, value);
    let span = draft.size * if repeated { 4 } else { 1 };
    for (register, base) in [(gpr::RSI, draft.segment_base()), (gpr::RDI, 0)] {
        let base = if draft.narrow() { 0 } else { base };
        let linear = if draft.rng.chance(80) { inside(draft, span as u64) } else { address::place(draft.rng, span, false) };
        let garbage = garbage(draft);
        let offset = linear.wrapping_sub(base);
        let offset = offset & draft.address_mask() | garbage;
        draft.pin(register, offset);
    }
    if draft.narrow() && draft.segment.is_some() {
        // A 32-bit offset from a far base would always miss.
        draft.state.fs_base = 0;
        draft.state.gs_base = 0;
    }
    if repeated && draft.rng.chance(30) {
        // Overlapping runs, some of them closer than an element.
        let distance = draft.rng.between(-20, 20) as u64;
        let value = draft.state.gpr[gpr::RSI].wrapping_add(draft.segment_base()).wrapping_add(distance);
        draft.pin(gpr::RDI, value);
    }
    if draft.rng.chance(30) {
        draft.state.rflags ^= 0x400;
    }
}

fn inside(draft: &mut Draft, span: u64) -> u64 {
    let room = arena::DATA.end - arena::DATA.start;
    let margin = span * COUNT / 4;
    arena::DATA.start + margin + draft.rng.below(room - 2 * margin)
}

fn finish(draft: &mut Draft) {
    let mask = draft.address_mask();
    let source = (draft.state.gpr[gpr::RSI] & mask).wrapping_add(draft.segment_base());
    let target = draft.state.gpr[gpr::RDI] & mask;
    // Elements equal to each other and to the accumulator, up to a point, so that repetitions last.
    let unit = draft.state.gpr[gpr::RAX].to_le_bytes();
    let size = draft.size;
    let run = draft.rng.below(COUNT) as usize * size;
    let bytes = (0..run).map(|at| unit[at % size]).collect::<Vec<_>>();
    let backwards = draft.state.rflags & 0x400 != 0;
    let start = |address: u64| if backwards { address.wrapping_add(size as u64).wrapping_sub(run as u64) } else { address };
    match draft.instruction.mnemonic() {
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => {
            draft.patch(start(source), &bytes);
            draft.patch(start(target), &bytes);
        }
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => draft.patch(start(target), &bytes),
        _ => {}
    }
}
