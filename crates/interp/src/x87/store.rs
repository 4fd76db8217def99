//! Stores from the top of the stack: FST, FSTP, FIST, FISTP, FISTTP, FBSTP (SDM 1, 8.3.3).

use decode::Selected;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};
use softfloat::{Env, F80};

use super::unit::{Effects, Stack, enter, evaluate, settle, write_bytes};
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let register = instruction.op0_kind() == OpKind::Register;
    let size = instruction.memory_size();
    let handler = match instruction.mnemonic() {
        Mnemonic::Fst if register => fst_register::<false>,
        Mnemonic::Fstp if register => fst_register::<true>,
        Mnemonic::Fstpnce => fstpnce,
        Mnemonic::Fst => match size {
            MemorySize::Float32 => store::<4, false, Single>,
            _ => store::<8, false, Double>,
        },
        Mnemonic::Fstp => match size {
            MemorySize::Float32 => store::<4, true, Single>,
            MemorySize::Float64 => store::<8, true, Double>,
            _ => store::<10, true, Extended>,
        },
        Mnemonic::Fist => match size {
            MemorySize::Int16 => store::<2, false, Int16>,
            _ => store::<4, false, Int32>,
        },
        Mnemonic::Fistp => match size {
            MemorySize::Int16 => store::<2, true, Int16>,
            MemorySize::Int32 => store::<4, true, Int32>,
            _ => store::<8, true, Int64>,
        },
        Mnemonic::Fisttp => match size {
            MemorySize::Int16 => store::<2, true, Truncated16>,
            MemorySize::Int32 => store::<4, true, Truncated32>,
            _ => store::<8, true, Truncated64>,
        },
        Mnemonic::Fbstp => store::<10, true, Decimal>,
        _ => return None,
    };
    Some(plain(handler))
}

/// FST ST(i), FSTP ST(i).
fn fst_register<const POPS: bool>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    if let Some(value) = evaluate(core, op, [0], F80::INDEFINITE, |[value], _| value) {
        core.cpu.x87.set(op.dst, value);
        if POPS {
            core.cpu.x87.pop();
        }
    }
    Ok(())
}

/// D9 D8+i: an FSTP for which an empty register is no stack fault; it only pops then.
fn fstpnce(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    settle(core, op, Effects::NONE);
    let x87 = &mut core.cpu.x87;
    if !x87.is_empty(0) {
        x87.set(op.dst, x87.st(0));
    }
    x87.pop();
    Ok(())
}

/// A format in memory of `N` bytes. What it makes of a NaN is its indefinite, which a masked stack underflow stores too.
trait Destination<const N: usize> {
    fn convert(value: F80, env: &mut Env) -> [u8; N];
}

fn store<const N: usize, const POPS: bool, D: Destination<N>>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let x87 = &core.cpu.x87;
    let mut env = x87.environment();
    let (bytes, effects) = if x87.is_empty(0) {
        (D::convert(F80::INDEFINITE, &mut env), Effects::UNDERFLOW)
    } else {
        let bytes = D::convert(x87.st(0), &mut env);
        (bytes, Effects::of(&env))
    };
    let stops = effects.stops_store(x87);
    if stops {
        // The address is found bad before the operand is.
        core.probe(op.seg, core.effective_address(op), N)?;
    } else {
        write_bytes(core, op, &bytes)?;
    }
    settle(core, op, effects);
    if POPS && !stops {
        core.cpu.x87.pop();
    }
    Ok(())
}

macro_rules! destination {
    ($name:ident, $bytes:literal, |$value:ident, $env:ident| $convert:expr) => {
        struct $name;
        impl Destination<$bytes> for $name {
            fn convert($value: F80, $env: &mut Env) -> [u8; $bytes] {
                $convert
            }
        }
    };
}

destination!(Single, 4, |value, env| value.to_f32(env).0.to_le_bytes());
destination!(Double, 8, |value, env| value.to_f64(env).0.to_le_bytes());
destination!(Extended, 10, |value, _env| value.to_bytes());
destination!(Int16, 2, |value, env| value.to_i16(env).to_le_bytes());
destination!(Int32, 4, |value, env| value.to_i32(env).to_le_bytes());
destination!(Int64, 8, |value, env| value.to_i64(env).to_le_bytes());
destination!(Truncated16, 2, |value, env| value.to_i16_truncate(env).to_le_bytes());
destination!(Truncated32, 4, |value, env| value.to_i32_truncate(env).to_le_bytes());
destination!(Truncated64, 8, |value, env| value.to_i64_truncate(env).to_le_bytes());
destination!(Decimal, 10, |value, env| value.to_bcd(env));
