//! Branches: targets among the breakpoints of the code pages, near and far in the displacement's range; indirect ones also
//! to where nothing is. Calls and returns use the stack as the stack family does.

use iced_x86::{Code, Mnemonic as M, OpKind};

use super::Family;
use crate::address;
use crate::arena::{self, CODE, CODE_PAGES, HOLE};
use crate::generate::{Draft, gpr};
use crate::rng::Rng;

pub static FAMILY: Family = Family { name: "branch", prepare, finish };

/// Room for the longest instruction: no branch leads into the case's own.
const OWN_BYTES: u64 = 16;

/// True for what this family tests.
pub fn is_branch(code: Code) -> bool {
    code.is_jcc_short_or_near()
        || code.is_jmp_short_or_near()
        || code.is_jmp_near_indirect()
        || code.is_call_near()
        || code.is_call_near_indirect()
        || code.is_loop()
        || code.is_loopcc()
        || code.is_jcx_short()
        || matches!(code.mnemonic(), M::Ret)
}

/// A target within reach of an 8-bit displacement, or anywhere in the code pages.
pub fn target(rng: &mut Rng, short: bool) -> u64 {
    match (rng.chance(50), short) {
        (true, true) => CODE - 1 - rng.below(100),
        (false, true) => CODE + OWN_BYTES + rng.below(100),
        (true, false) => CODE - 1 - rng.below(CODE - CODE_PAGES.start - 1),
        (false, false) => CODE + OWN_BYTES + rng.below(CODE_PAGES.end - CODE - OWN_BYTES),
    }
}

/// A target that a register or memory holds.
fn indirect(rng: &mut Rng) -> u64 {
    match rng.below(12) {
        0 => HOLE + rng.below(4096),
        1 => rng.next_u64() >> 1 | 1 << 62,
        2 => arena::DATA.start + rng.below(4096),
        _ => target(rng, false),
    }
}

fn prepare(draft: &mut Draft) {
    let code = draft.form.code;
    if code.op_code().is_stack_instruction() {
        let pointer = address::stack_pointer(draft.rng, 16);
        draft.pin(gpr::RSP, pointer);
    }
    if code.is_loop() || code.is_loopcc() || code.is_jcx_short() {
        let count = draft.rng.pick(&[0, 1, 2, 1 << 32, (1 << 32) + 1, u64::MAX, 1 << 63, 5]);
        draft.pin(gpr::RCX, count);
    }
}

fn finish(draft: &mut Draft) {
    let target = indirect(draft.rng);
    if draft.form.code.mnemonic() == M::Ret {
        let pointer = draft.state.gpr[gpr::RSP];
        draft.patch(pointer, &target.to_le_bytes());
        return;
    }
    match draft.instruction.op0_kind() {
        OpKind::Register => {
            // RSP as the target of a call is where the stack is: nothing executable.
            let register = draft.instruction.op0_register().number();
            draft.set_free(register, target);
        }
        OpKind::Memory => {
            if let Some(at) = draft.target {
                draft.patch(at, &target.to_le_bytes());
            }
        }
        _ => {}
    }
}
