//! Loads onto the stack: FLD, FILD, FBLD, and the constants (SDM 1, 8.3.3 and 8.3.4).

use decode::Selected;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};
use softfloat::{Constant, F32, F64, F80};

use super::unit::{Effects, Stack, enter, read_bytes, settle};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let handler = match instruction.mnemonic() {
        Mnemonic::Fld if instruction.op0_kind() == OpKind::Register => fld_register,
        Mnemonic::Fld => match instruction.memory_size() {
            MemorySize::Float32 => fld_m32,
            MemorySize::Float64 => fld_m64,
            _ => fld_m80,
        },
        Mnemonic::Fild => match instruction.memory_size() {
            MemorySize::Int16 => fild_m16,
            MemorySize::Int32 => fild_m32,
            _ => fild_m64,
        },
        Mnemonic::Fbld => fbld,
        Mnemonic::Fld1 => fld1,
        Mnemonic::Fldl2t => fldl2t,
        Mnemonic::Fldl2e => fldl2e,
        Mnemonic::Fldpi => fldpi,
        Mnemonic::Fldlg2 => fldlg2,
        Mnemonic::Fldln2 => fldln2,
        Mnemonic::Fldz => fldz,
        _ => return None,
    };
    Some(plain(handler))
}

/// Pushes a value, or the indefinite where the stack is full.
fn push(core: &mut Core, op: &Op, value: F80, effects: Effects) {
    if core.cpu.x87.is_empty(7) {
        finish_push(core, op, value, effects);
    } else {
        finish_push(core, op, F80::INDEFINITE, Effects::OVERFLOW);
    }
}

fn finish_push(core: &mut Core, op: &Op, value: F80, effects: Effects) {
    let stops = effects.stops(&core.cpu.x87);
    settle(core, op, effects);
    if !stops {
        core.cpu.x87.push(value);
    }
}

fn fld_register(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let x87 = &core.cpu.x87;
    if x87.is_empty(op.dst) {
        // An empty source outweighs a full stack.
        finish_push(core, op, F80::INDEFINITE, Effects::UNDERFLOW);
    } else {
        push(core, op, x87.st(op.dst), Effects::NONE);
    }
    Ok(())
}

fn fld_m32(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let value = F32(core.read_operand(op)?);
    let mut env = core.cpu.x87.environment();
    let wide = F80::from_f32(value, &mut env);
    push(core, op, wide, Effects::of(&env));
    Ok(())
}

fn fld_m64(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let value = F64(core.read_operand(op)?);
    let mut env = core.cpu.x87.environment();
    let wide = F80::from_f64(value, &mut env);
    push(core, op, wide, Effects::of(&env));
    Ok(())
}

fn fld_m80(core: &mut Core, op: &Op) -> Exec {
    let bytes = ten_bytes(core, op)?;
    push(core, op, F80::from_bytes(bytes), Effects::NONE);
    Ok(())
}

fn fbld(core: &mut Core, op: &Op) -> Exec {
    let bytes = ten_bytes(core, op)?;
    push(core, op, F80::from_bcd(bytes), Effects::NONE);
    Ok(())
}

fn ten_bytes(core: &mut Core, op: &Op) -> Exec<[u8; 10]> {
    enter(core)?;
    let mut bytes = [0; 10];
    read_bytes(core, op, &mut bytes)?;
    Ok(bytes)
}

fn fild_m16(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let value = core.read_operand::<u16>(op)? as i16;
    push(core, op, F80::from_i16(value), Effects::NONE);
    Ok(())
}

fn fild_m32(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let value = core.read_operand::<u32>(op)? as i32;
    push(core, op, F80::from_i32(value), Effects::NONE);
    Ok(())
}

fn fild_m64(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let value = core.read_operand::<u64>(op)? as i64;
    push(core, op, F80::from_i64(value), Effects::NONE);
    Ok(())
}

fn constant(core: &mut Core, op: &Op, which: Constant) -> Exec {
    enter(core)?;
    let rounding = core.cpu.x87.environment().rounding;
    push(core, op, F80::constant(which, rounding), Effects::NONE);
    Ok(())
}

fn fld1(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::One)
}

fn fldl2t(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::Log2Of10)
}

fn fldl2e(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::Log2OfE)
}

fn fldpi(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::Pi)
}

fn fldlg2(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::Log10Of2)
}

fn fldln2(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::LnOf2)
}

fn fldz(core: &mut Core, op: &Op) -> Exec {
    constant(core, op, Constant::Zero)
}
