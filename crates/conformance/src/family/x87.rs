//! x87: register stacks with empty places, control words, pending exceptions, environments in memory.

use iced_x86::Mnemonic as M;
use softfloat::F80;

use super::{Family, nothing};
use crate::generate::Draft;
use crate::rng::Rng;
use crate::state::X87;
use crate::values;

pub static FAMILY: Family = Family { name: "x87", prepare: nothing, finish };

const ES: u16 = 1 << 7;
const BUSY: u16 = 1 << 15;
const EXCEPTIONS: u16 = 0x3f;

/// A register file: mostly all exceptions masked; the summary bits follow from the rest.
pub fn registers(rng: &mut Rng) -> X87 {
    let masks = if rng.chance(80) { 0x3f } else { rng.next_u64() as u16 & EXCEPTIONS };
    // RC any, PC any but the reserved one.
    let control = 0x40 | masks | (rng.next_u64() as u16 & 3) << 10 | rng.pick(&[0u16, 2, 3, 3, 3]) << 8;
    let mut status = rng.next_u64() as u16 & 0x4700 | (rng.below(8) as u16) << 11;
    if rng.chance(30) {
        status |= rng.next_u64() as u16 & (EXCEPTIONS | 1 << 6);
        if rng.chance(90) {
            // Nothing pending.
            status &= !(!control & EXCEPTIONS);
        }
    }
    if status & !control & EXCEPTIONS != 0 {
        status |= ES | BUSY;
    }
    let valid = match rng.below(10) {
        0 => rng.next_u64() as u8,
        1 => 0,
        2..5 => !(1 << rng.below(8)),
        5 => !(rng.next_u64() as u8 & rng.next_u64() as u8),
        // ST(7) empty, so that pushes work.
        6..9 => !(1 << ((status >> 11).wrapping_sub(1) & 7)),
        _ => 0xff,
    };
    let mut st = [F80::ZERO; 8];
    for register in &mut st {
        *register = values::float80(rng);
    }
    if rng.chance(15) {
        let (from, to) = (rng.below(8) as usize, rng.below(2) as usize);
        st[to] = st[from];
    }
    X87 { control, status, valid, st }
}

fn finish(draft: &mut Draft) {
    use M::*;
    let mnemonic = draft.form.code.mnemonic();
    // Arguments of the transcendentals within their ranges, mostly.
    if matches!(mnemonic, F2xm1 | Fyl2xp1 | Fsin | Fcos | Fsincos | Fptan) && draft.rng.chance(70) {
        let exponent = draft.rng.between(0x3fff - 40, 0x3fff - 2) as u16;
        let value = F80 { mantissa: draft.rng.next_u64() | 1 << 63, sign_exponent: exponent | draft.rng.next_u64() as u16 & 0x8000 };
        draft.state.x87.st[0] = value;
    }
    let Some(at) = draft.target.filter(|_| draft.form.memory) else { return };
    match mnemonic {
        Fld | Fbld if draft.size == 10 => {
            let mut bytes = values::float80(draft.rng).to_bytes();
            if mnemonic == Fbld {
                for byte in &mut bytes[..9] {
                    *byte = (draft.rng.below(10) << 4 | draft.rng.below(10)) as u8;
                }
                bytes[9] = (draft.rng.next_u64() as u8) & 0x80;
            }
            draft.patch(at, &bytes);
        }
        Fldcw => {
            let control = registers(draft.rng).control;
            draft.patch(at, &control.to_le_bytes());
        }
        Fldenv | Frstor => environment(draft, at),
        _ => {}
    }
}

/// The environment (SDM 1, figures 8-9 to 8-12) and the registers of another state.
fn environment(draft: &mut Draft, at: u64) {
    let other = registers(draft.rng);
    let narrow = matches!(draft.size, 14 | 94);
    let tags = draft.rng.next_u64() as u16;
    let words = [other.control, other.status, tags];
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend(word.to_le_bytes());
        if !narrow {
            bytes.extend(0xffffu16.to_le_bytes());
        }
    }
    bytes.resize(if narrow { 14 } else { 28 }, 0);
    if draft.size > bytes.len() {
        bytes.extend(other.st.iter().flat_map(|value| value.to_bytes()));
    }
    draft.patch(at, &bytes);
}
