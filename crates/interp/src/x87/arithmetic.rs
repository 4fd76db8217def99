//! FADD, FSUB, FMUL, FDIV and their reversed, popping and integer forms; FSQRT, FABS, FCHS, FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1
//! (SDM 1, 8.3.5).

use decode::Selected;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};
use softfloat::{Class, Env, F32, F64, F80, Operand, OutOfRange, Remainder};

use super::unit::{Effects, Stack, enter, evaluate, settle, status};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Fadd | Mnemonic::Faddp | Mnemonic::Fiadd => select_binary::<Add>(instruction),
        Mnemonic::Fsub | Mnemonic::Fsubp | Mnemonic::Fisub => select_binary::<Sub>(instruction),
        Mnemonic::Fsubr | Mnemonic::Fsubrp | Mnemonic::Fisubr => select_binary::<SubReversed>(instruction),
        Mnemonic::Fmul | Mnemonic::Fmulp | Mnemonic::Fimul => select_binary::<Mul>(instruction),
        Mnemonic::Fdiv | Mnemonic::Fdivp | Mnemonic::Fidiv => select_binary::<Div>(instruction),
        Mnemonic::Fdivr | Mnemonic::Fdivrp | Mnemonic::Fidivr => select_binary::<DivReversed>(instruction),
        Mnemonic::Fsqrt => plain(fsqrt),
        Mnemonic::Fabs => plain(fabs),
        Mnemonic::Fchs => plain(fchs),
        Mnemonic::Frndint => plain(frndint),
        Mnemonic::Fscale => plain(fscale),
        Mnemonic::Fxtract => plain(fxtract),
        Mnemonic::Fprem => plain(fprem),
        Mnemonic::Fprem1 => plain(fprem1),
        _ => return None,
    })
}

/// An operation on a destination register and a source.
trait Binary {
    fn apply(destination: F80, source: impl Operand, env: &mut Env) -> F80;
}

macro_rules! operation {
    ($name:ident, $method:ident) => {
        struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn apply(destination: F80, source: impl Operand, env: &mut Env) -> F80 {
                destination.$method(source, env)
            }
        }
    };
}

operation!(Add, add);
operation!(Sub, sub);
operation!(SubReversed, sub_from);
operation!(Mul, mul);
operation!(Div, div);
operation!(DivReversed, div_into);

fn select_binary<B: Binary>(instruction: &Instruction) -> Selected<Handler> {
    if instruction.op0_kind() == OpKind::Register {
        // FADDP and its kin are the DE opcodes; their mnemonics alone end in P.
        let pops = matches!(
            instruction.mnemonic(),
            Mnemonic::Faddp | Mnemonic::Fsubp | Mnemonic::Fsubrp | Mnemonic::Fmulp | Mnemonic::Fdivp | Mnemonic::Fdivrp
        );
        return plain(if pops { registers::<B, true> } else { registers::<B, false> });
    }
    plain(match instruction.memory_size() {
        MemorySize::Float32 => with_m32::<B>,
        MemorySize::Float64 => with_m64::<B>,
        MemorySize::Int16 => with_i16::<B>,
        _ => with_i32::<B>,
    })
}

fn registers<B: Binary, const POPS: bool>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    if let Some(result) = evaluate(core, op, [op.dst, op.src], F80::INDEFINITE, |[a, b], env| B::apply(a, b, env)) {
        core.cpu.x87.set(op.dst, result);
        if POPS {
            core.cpu.x87.pop();
        }
    }
    Ok(())
}

fn with_memory<B: Binary>(core: &mut Core, op: &Op, source: impl Operand) -> Exec {
    if let Some(result) = evaluate(core, op, [0], F80::INDEFINITE, |[a], env| B::apply(a, source, env)) {
        core.cpu.x87.set(0, result);
    }
    Ok(())
}

fn with_m32<B: Binary>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = F32(core.read_operand(op)?);
    with_memory::<B>(core, op, source)
}

fn with_m64<B: Binary>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = F64(core.read_operand(op)?);
    with_memory::<B>(core, op, source)
}

fn with_i16<B: Binary>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = core.read_operand::<u16>(op)? as i16;
    with_memory::<B>(core, op, F80::from_i16(source))
}

fn with_i32<B: Binary>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = core.read_operand::<u32>(op)? as i32;
    with_memory::<B>(core, op, F80::from_i32(source))
}

/// An operation from ST(0) to ST(0).
#[inline(always)]
pub(super) fn unary(core: &mut Core, op: &Op, operation: impl FnOnce(F80, &mut Env) -> F80) -> Exec {
    enter(core)?;
    if let Some(result) = evaluate(core, op, [0], F80::INDEFINITE, |[a], env| operation(a, env)) {
        core.cpu.x87.set(0, result);
    }
    Ok(())
}

fn fsqrt(core: &mut Core, op: &Op) -> Exec {
    unary(core, op, F80::sqrt)
}

fn fabs(core: &mut Core, op: &Op) -> Exec {
    unary(core, op, |a, _| a.abs())
}

fn fchs(core: &mut Core, op: &Op) -> Exec {
    unary(core, op, |a, _| a.negate())
}

fn frndint(core: &mut Core, op: &Op) -> Exec {
    unary(core, op, F80::round_to_integral)
}

fn fscale(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    if let Some(result) = evaluate(core, op, [0, 1], F80::INDEFINITE, |[a, n], env| a.scale(n, env)) {
        core.cpu.x87.set(0, result);
    }
    Ok(())
}

fn fxtract(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    push_pair(core, op, |a, env| Ok(a.extract(env)));
    Ok(())
}

/// Replaces ST(0) by the first result and pushes the second. Answers whether there were results; `None` after an unmasked exception.
pub(super) fn push_pair(core: &mut Core, op: &Op, operation: impl FnOnce(F80, &mut Env) -> Result<(F80, F80), OutOfRange>) -> Option<bool> {
    let indefinite = Ok((F80::INDEFINITE, F80::INDEFINITE));
    let result = if core.cpu.x87.is_empty(0) || core.cpu.x87.is_empty(7) {
        evaluate(core, op, [0], indefinite, |[a], env| operation(a, env))
    } else {
        let stops = Effects::OVERFLOW.stops(&core.cpu.x87);
        settle(core, op, Effects::OVERFLOW);
        (!stops).then_some(indefinite)
    }?;
    if let Ok((first, second)) = result {
        core.cpu.x87.set(0, first);
        core.cpu.x87.push(second);
    }
    Some(result.is_ok())
}

fn fprem(core: &mut Core, op: &Op) -> Exec {
    remainder(core, op, F80::rem)
}

fn fprem1(core: &mut Core, op: &Op) -> Exec {
    remainder(core, op, F80::rem_nearest)
}

fn remainder(core: &mut Core, op: &Op, operation: fn(F80, F80, &mut Env) -> Remainder) -> Exec {
    enter(core)?;
    let indefinite = Remainder { value: F80::INDEFINITE, quotient: 0, complete: true };
    let step = evaluate(core, op, [0, 1], indefinite, |[a, b], env| operation(a, b, env));
    let x87 = &mut core.cpu.x87;
    x87.status &= !status::C2;
    if let Some(step) = step {
        x87.set(0, step.value);
        // A NaN has no quotient to report.
        if step.value.classify() != Class::Nan {
            x87.status = x87.status & !status::CODES | quotient_codes(&step);
        }
    }
    Ok(())
}

/// The low quotient bits in C0, C3, C1, and whether there is more to do in C2.
fn quotient_codes(step: &Remainder) -> u16 {
    let code = |set: bool, code: u16| if set { code } else { 0 };
    code(step.quotient & 1 != 0, status::C1)
        | code(step.quotient & 2 != 0, status::C3)
        | code(step.quotient & 4 != 0, status::C0)
        | code(!step.complete, status::C2)
}
