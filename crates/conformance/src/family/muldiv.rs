//! Division: dividends whose quotient fits, or just does not; random ones would nearly always fault.

use iced_x86::Mnemonic;

use super::{Family, nothing};
use crate::generate::{Draft, gpr};

pub static FAMILY: Family = Family { name: "muldiv", prepare: nothing, finish };

fn finish(draft: &mut Draft) {
    let signed = match draft.instruction.mnemonic() {
        Mnemonic::Div => false,
        Mnemonic::Idiv => true,
        _ => return,
    };
    if draft.rng.chance(15) {
        return;
    }
    let divisor = draft.operand_value(0);
    let size = if draft.form.memory { draft.size } else { draft.instruction.op0_register().size() };
    let bits = size as u32 * 8;
    let mask = u64::MAX >> (64 - bits);
    // The high half decides whether the quotient fits: below the divisor, or for signed division its half.
    let high = match draft.rng.below(6) {
        0 => 0,
        1 => mask,
        2 => (divisor >> u32::from(signed)).wrapping_sub(draft.rng.below(2)),
        3 => (divisor >> u32::from(signed)).wrapping_neg(),
        _ if divisor > 1 => draft.rng.below(divisor) >> u32::from(signed),
        _ => draft.rng.below(2),
    } & mask;
    if size == 1 {
        let value = draft.state.gpr[gpr::RAX] & !0xff00 | high << 8;
        draft.set_free(gpr::RAX, value);
    } else {
        let garbage = if bits == 64 { 0 } else { draft.rng.next_u64() << 32 };
        draft.set_free(gpr::RDX, high | garbage & !mask);
    }
}
