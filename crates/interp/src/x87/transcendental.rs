//! F2XM1, FYL2X, FYL2XP1, FPATAN, FSIN, FCOS, FSINCOS, FPTAN (SDM 1, 8.3.7 to 8.3.11).

use decode::Selected;
use iced_x86::{Instruction, Mnemonic};
use softfloat::{Class, Env, F80, OutOfRange};

use super::arithmetic::{push_pair, unary};
use super::unit::{Stack, enter, evaluate, status};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let handler = match instruction.mnemonic() {
        Mnemonic::F2xm1 => f2xm1,
        Mnemonic::Fyl2x => fyl2x,
        Mnemonic::Fyl2xp1 => fyl2xp1,
        Mnemonic::Fpatan => fpatan,
        Mnemonic::Fsin => fsin,
        Mnemonic::Fcos => fcos,
        Mnemonic::Fsincos => fsincos,
        Mnemonic::Fptan => fptan,
        _ => return None,
    };
    Some(plain(handler))
}

fn f2xm1(core: &mut Core, op: &Op) -> Exec {
    unary(core, op, F80::f2xm1)
}

/// From ST(0) and ST(1) to ST(1), then pops.
fn binary(core: &mut Core, op: &Op, operation: impl FnOnce(F80, F80, &mut Env) -> F80) -> Exec {
    enter(core)?;
    if let Some(result) = evaluate(core, op, [0, 1], F80::INDEFINITE, |[x, y], env| operation(x, y, env)) {
        core.cpu.x87.set(1, result);
        core.cpu.x87.pop();
    }
    Ok(())
}

fn fyl2x(core: &mut Core, op: &Op) -> Exec {
    binary(core, op, F80::fyl2x)
}

fn fyl2xp1(core: &mut Core, op: &Op) -> Exec {
    binary(core, op, F80::fyl2xp1)
}

fn fpatan(core: &mut Core, op: &Op) -> Exec {
    binary(core, op, |x, y, env| y.fpatan(x, env))
}

/// A function of the angle in ST(0). One too large to reduce stays there, and C2 says so.
fn of_angle(core: &mut Core, op: &Op, operation: impl FnOnce(F80, &mut Env) -> Result<F80, OutOfRange>) -> Exec {
    enter(core)?;
    let result = evaluate(core, op, [0], Ok(F80::INDEFINITE), |[angle], env| operation(angle, env));
    if let Some(Ok(value)) = result {
        core.cpu.x87.set(0, value);
    }
    report_range(core, result.map(|it| it.is_ok()));
    Ok(())
}

/// A function of the angle in ST(0) with two results.
fn pair_of_angle(core: &mut Core, op: &Op, operation: impl FnOnce(F80, &mut Env) -> Result<(F80, F80), OutOfRange>) -> Exec {
    enter(core)?;
    let in_range = push_pair(core, op, operation);
    report_range(core, in_range);
    Ok(())
}

/// C2 after an angle: set only where it was out of range.
fn report_range(core: &mut Core, in_range: Option<bool>) {
    core.cpu.x87.status &= !status::C2;
    if in_range == Some(false) {
        core.cpu.x87.status |= status::C2;
    }
}

fn fsin(core: &mut Core, op: &Op) -> Exec {
    of_angle(core, op, F80::fsin)
}

fn fcos(core: &mut Core, op: &Op) -> Exec {
    of_angle(core, op, F80::fcos)
}

fn fsincos(core: &mut Core, op: &Op) -> Exec {
    pair_of_angle(core, op, F80::fsincos)
}

/// FPTAN pushes a 1, or the NaN again.
fn fptan(core: &mut Core, op: &Op) -> Exec {
    pair_of_angle(core, op, |angle, env| {
        let tangent = angle.fptan(env)?;
        Ok((tangent, if tangent.classify() == Class::Nan { tangent } else { F80::ONE }))
    })
}
