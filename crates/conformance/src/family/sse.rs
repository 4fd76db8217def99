//! MMX and SSE: control registers, shared lanes, and the few instructions with operands of their own.

use iced_x86::{Mnemonic as M, OpKind};

use super::Family;
use crate::address;
use crate::generate::{Draft, gpr};
use crate::rng::Rng;
use crate::values::{self, Flavour};

pub static FAMILY: Family = Family { name: "sse", prepare, finish };

/// Masks of all six exceptions, and everything that exists in MXCSR. Bit 17 is AMD's alone.
const MASKS: u32 = 0x1f80;
const DEFINED: u32 = 0xffff;

/// MXCSR: mostly all exceptions masked, any rounding, sometimes flags, FZ, DAZ.
pub fn mxcsr(rng: &mut Rng) -> u32 {
    match rng.below(10) {
        0..4 => MASKS,
        4..9 => MASKS | rng.next_u64() as u32 & 0xe07f & if rng.chance(50) { !0x8040 } else { !0 },
        _ => rng.next_u64() as u32 & DEFINED,
    }
}

fn prepare(draft: &mut Draft) {
    match draft.form.code.mnemonic() {
        M::Maskmovq | M::Maskmovdqu => {
            let place = address::place(draft.rng, draft.size, false);
            if draft.narrow() {
                // A 32-bit offset from a far base would always miss.
                (draft.state.fs_base, draft.state.gs_base) = (0, 0);
            }
            let offset = place.wrapping_sub(draft.segment_base()) & draft.address_mask();
            draft.pin(gpr::RDI, offset);
        }
        // Lengths of explicit-length strings: up to 16 elements either way, or far out.
        M::Pcmpestri | M::Pcmpestrm | M::Pcmpestri64 | M::Pcmpestrm64 => {
            for register in [gpr::RAX, gpr::RDX] {
                if draft.rng.chance(80) {
                    let length = draft.rng.between(-20, 20) as u64;
                    draft.pin(register, length);
                }
            }
            strings(draft);
        }
        M::Pcmpistri | M::Pcmpistrm => strings(draft),
        _ => {}
    }
    if draft.form.code.op_code().op_kinds().iter().any(|kind| matches!(kind, iced_x86::OpCodeOperandKind::xmm_reg)) && draft.rng.chance(25)
    {
        // Few distinct lanes, so that some are equal, and shift counts are small.
        for register in &mut draft.state.xmm {
            if draft.rng.chance(50) {
                *register = u128::from(draft.rng.below(70));
            }
        }
    }
}

/// Vectors over a tiny alphabet with zeroes.
fn strings(draft: &mut Draft) {
    let wide = draft.rng.chance(50);
    let text = |rng: &mut Rng| {
        let mut bytes = [0u8; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            if !wide || at % 2 == 0 {
                *byte = rng.pick(&[b'a', b'a', b'b', b'b', b'c', 0x80, 0]);
            }
        }
        if rng.chance(50) { bytes.map(|byte| if byte == 0 { b'a' } else { byte }) } else { bytes }
    };
    for register in &mut draft.state.xmm {
        *register = u128::from_le_bytes(text(draft.rng));
    }
}

fn finish(draft: &mut Draft) {
    let mnemonic = draft.form.code.mnemonic();
    let Some(at) = draft.target.filter(|_| draft.instruction.op_count() > 0 && draft.form.memory) else { return };
    match mnemonic {
        M::Ldmxcsr => {
            let value = if draft.rng.chance(15) { draft.rng.next_u64() as u32 & !(1 << 17) } else { mxcsr(draft.rng) };
            draft.patch(at, &value.to_le_bytes());
        }
        M::Pcmpestri | M::Pcmpestrm | M::Pcmpestri64 | M::Pcmpestrm64 | M::Pcmpistri | M::Pcmpistrm => {
            let text = draft.state.xmm[draft.rng.below(16) as usize].to_le_bytes();
            draft.patch(at, &text);
        }
        _ => {}
    }
}

/// Gives the vector operand `number` some or all lanes of the other operand.
pub fn equalize(draft: &mut Draft, number: usize) {
    let other = match draft.instruction.op1_kind() {
        OpKind::Register if draft.instruction.op1_register().is_xmm() => draft.state.xmm[draft.instruction.op1_register().number()],
        OpKind::Memory if draft.size <= 16 => {
            let mut bytes = draft.contents(draft.target.unwrap_or_default(), draft.size);
            bytes.resize(16, 0);
            u128::from_le_bytes(bytes.try_into().expect("resized to 16"))
        }
        _ => return,
    };
    let keep = values::vector(draft.rng, Flavour::Int8);
    draft.state.xmm[number] = match draft.rng.below(4) {
        0 => other,
        // The sign bits of the largest lanes.
        1 => other ^ 1 << 127 ^ 1 << 63 ^ 1 << 31,
        2 => other ^ 1,
        _ => other & keep | draft.state.xmm[number] & !keep,
    };
}
