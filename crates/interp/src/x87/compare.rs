//! FCOM, FUCOM, FICOM, FTST, FXAM, and FCOMI, FUCOMI, which set RFLAGS (SDM 1, 8.3.6).

use cpu::flags::bit;
use decode::Selected;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};
use softfloat::{Class, F32, F64, F80, Operand, Ordering4};

use super::unit::{Effects, Stack, enter, evaluate, settle, status};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let size = (instruction.op0_kind() == OpKind::Memory).then(|| instruction.memory_size());
    let handler = match (instruction.mnemonic(), size) {
        (Mnemonic::Fcom, None) => registers::<false, 0>,
        (Mnemonic::Fcomp, None) => registers::<false, 1>,
        (Mnemonic::Fcompp, _) => pair::<false>,
        (Mnemonic::Fucom, _) => registers::<true, 0>,
        (Mnemonic::Fucomp, _) => registers::<true, 1>,
        (Mnemonic::Fucompp, _) => pair::<true>,
        (Mnemonic::Fcom, Some(MemorySize::Float32)) => with_m32::<0>,
        (Mnemonic::Fcom, _) => with_m64::<0>,
        (Mnemonic::Fcomp, Some(MemorySize::Float32)) => with_m32::<1>,
        (Mnemonic::Fcomp, _) => with_m64::<1>,
        (Mnemonic::Ficom, Some(MemorySize::Int16)) => with_i16::<0>,
        (Mnemonic::Ficom, _) => with_i32::<0>,
        (Mnemonic::Ficomp, Some(MemorySize::Int16)) => with_i16::<1>,
        (Mnemonic::Ficomp, _) => with_i32::<1>,
        (Mnemonic::Fcomi, _) => to_rflags::<false, 0>,
        (Mnemonic::Fcomip, _) => to_rflags::<false, 1>,
        (Mnemonic::Fucomi, _) => to_rflags::<true, 0>,
        (Mnemonic::Fucomip, _) => to_rflags::<true, 1>,
        (Mnemonic::Ftst, _) => ftst,
        (Mnemonic::Fxam, _) => fxam,
        _ => return None,
    };
    Some(plain(handler))
}

/// SDM 2A, FCOM: C3, C2, C0.
fn codes(order: Ordering4) -> u16 {
    match order {
        Ordering4::Greater => 0,
        Ordering4::Less => status::C0,
        Ordering4::Equal => status::C3,
        Ordering4::Unordered => status::C0 | status::C2 | status::C3,
    }
}

/// Stores the outcome and pops, unless an unmasked exception ended the comparison.
fn report(core: &mut Core, order: Option<Ordering4>, pops: u8) -> Exec {
    if let Some(order) = order {
        let x87 = &mut core.cpu.x87;
        x87.status = x87.status & !(status::C0 | status::C2 | status::C3) | codes(order);
        for _ in 0..pops {
            x87.pop();
        }
    }
    Ok(())
}

/// FCOM ST(i), FUCOM ST(i) and their popping forms; the register is the last operand.
fn registers<const QUIET: bool, const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let order = evaluate(core, op, [0, op.src], Ordering4::Unordered, |[a, b], env| a.compare(b, env, QUIET));
    report(core, order, POPS)
}

/// FCOMPP, FUCOMPP: ST(0) with ST(1).
fn pair<const QUIET: bool>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let order = evaluate(core, op, [0, 1], Ordering4::Unordered, |[a, b], env| a.compare(b, env, QUIET));
    report(core, order, 2)
}

fn with_memory<const POPS: u8>(core: &mut Core, op: &Op, source: impl Operand) -> Exec {
    let order = evaluate(core, op, [0], Ordering4::Unordered, |[a], env| a.compare(source, env, false));
    report(core, order, POPS)
}

fn with_m32<const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = F32(core.read_operand(op)?);
    with_memory::<POPS>(core, op, source)
}

fn with_m64<const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = F64(core.read_operand(op)?);
    with_memory::<POPS>(core, op, source)
}

fn with_i16<const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = core.read_operand::<u16>(op)? as i16;
    with_memory::<POPS>(core, op, F80::from_i16(source))
}

fn with_i32<const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let source = core.read_operand::<u32>(op)? as i32;
    with_memory::<POPS>(core, op, F80::from_i32(source))
}

fn ftst(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    with_memory::<0>(core, op, F80::ZERO)
}

/// ZF, PF, CF as an unsigned comparison has them.
fn to_rflags<const QUIET: bool, const POPS: u8>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let order = evaluate(core, op, [0, op.src], Ordering4::Unordered, |[a, b], env| a.compare(b, env, QUIET));
    if let Some(order) = order {
        core.cpu.flags.set_arith(match order {
            Ordering4::Greater => 0,
            Ordering4::Less => bit::CF,
            Ordering4::Equal => bit::ZF,
            Ordering4::Unordered => bit::ZF | bit::PF | bit::CF,
        });
        for _ in 0..POPS {
            core.cpu.x87.pop();
        }
    }
    Ok(())
}

/// SDM 2A, FXAM: the class in C3, C2, C0, the sign in C1, of an empty register too.
fn fxam(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    settle(core, op, Effects::NONE);
    let x87 = &mut core.cpu.x87;
    let value = x87.st(0);
    let mut codes = match value.classify() {
        _ if x87.is_empty(0) => status::C3 | status::C0,
        Class::Unsupported => 0,
        Class::Nan => status::C0,
        Class::Normal => status::C2,
        Class::Infinity => status::C2 | status::C0,
        Class::Zero => status::C3,
        Class::Denormal => status::C3 | status::C2,
    };
    if value.is_negative() {
        codes |= status::C1;
    }
    x87.status = x87.status & !status::CODES | codes;
    Ok(())
}
