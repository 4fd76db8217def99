//! Between registers and over the stack: FXCH, FCMOVcc, FFREE, FINCSTP, FDECSTP, FNOP (SDM 1, 8.3.3 and 8.3.12).

use decode::Selected;
use iced_x86::{Instruction, Mnemonic};
use softfloat::F80;

use super::unit::{Effects, Stack, available, enter, evaluate, note, settle, status};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Fxch => fxch,
        Mnemonic::Fcmovb => fcmov::<2>,
        Mnemonic::Fcmovnb => fcmov::<3>,
        Mnemonic::Fcmove => fcmov::<4>,
        Mnemonic::Fcmovne => fcmov::<5>,
        Mnemonic::Fcmovbe => fcmov::<6>,
        Mnemonic::Fcmovnbe => fcmov::<7>,
        Mnemonic::Fcmovu => fcmov::<10>,
        Mnemonic::Fcmovnu => fcmov::<11>,
        Mnemonic::Ffree => ffree::<false>,
        Mnemonic::Ffreep => ffree::<true>,
        Mnemonic::Fincstp => fincstp,
        Mnemonic::Fdecstp => fdecstp,
        Mnemonic::Fnop => fnop,
        Mnemonic::Fneni | Mnemonic::Fndisi | Mnemonic::Fnsetpm => obsolete_control,
        _ => return None,
    };
    Some(plain(handler))
}

/// An empty register counts as the indefinite when invalid is masked.
fn fxch(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let other = op.src;
    let x87 = &core.cpu.x87;
    let [top, chosen] = [0, other].map(|i| if x87.is_empty(i) { F80::INDEFINITE } else { x87.st(i) });
    if evaluate(core, op, [0, other], (), |_, _| ()).is_some() {
        core.cpu.x87.set(0, chosen);
        core.cpu.x87.set(other, top);
    }
    Ok(())
}

/// `CONDITION` is the low nibble of the corresponding Jcc.
fn fcmov<const CONDITION: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let x87 = &core.cpu.x87;
    let wanted = core.cpu.flags.condition(CONDITION);
    // C1 tells of a stack underflow and is left alone otherwise.
    let kept = if x87.is_empty(0) || x87.is_empty(op.src) { 0 } else { x87.status & status::C1 };
    if let Some(value) = evaluate(core, op, [0, op.src], F80::INDEFINITE, |[own, other], _| if wanted { other } else { own }) {
        core.cpu.x87.set(0, value);
    }
    core.cpu.x87.status |= kept;
    Ok(())
}

/// FFREE, and FFREEP, which also pops.
fn ffree<const POPS: bool>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    settle(core, op, Effects::NONE);
    core.cpu.x87.free(op.dst);
    if POPS {
        core.cpu.x87.pop();
    }
    Ok(())
}

fn fincstp(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    settle(core, op, Effects::NONE);
    core.cpu.x87.top = core.cpu.x87.top.wrapping_add(1) & 7;
    Ok(())
}

fn fdecstp(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    settle(core, op, Effects::NONE);
    core.cpu.x87.top = core.cpu.x87.top.wrapping_sub(1) & 7;
    Ok(())
}

/// The 8087's and 80287's own control instructions do nothing since the 80387; like other control instructions they do not wait.
fn obsolete_control(core: &mut Core, _: &Op) -> Exec {
    available(core)
}

fn fnop(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    note(core, op);
    Ok(())
}
