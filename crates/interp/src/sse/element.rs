//! Insertion and extraction of one element (SDM 1, 10.4.6, 12.10.7, 12.10.8).

use decode::Selected;
use decode::op::prefix;
use iced_x86::{Instruction, Mnemonic};

use super::lanes::{Lane, count, split, with_lane};
use super::operation::{Shape, combine, xmm_m32};
use super::vector::{Source, Vector};
use crate::core::{Core, Exec};
use crate::operand::{Gpr, source};
use crate::{Handler, Op, plain};

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let mmx = instruction.op0_register().is_mm() || instruction.op1_register().is_mm();
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Pinsrb => insert::<u128, u8>,
        Mnemonic::Pinsrw if mmx => insert::<u64, u16>,
        Mnemonic::Pinsrw => insert::<u128, u16>,
        Mnemonic::Pinsrd => insert::<u128, u32>,
        Mnemonic::Pinsrq => insert::<u128, u64>,
        Mnemonic::Pextrb => extract::<u128, u8>,
        Mnemonic::Pextrw if mmx => extract::<u64, u16>,
        Mnemonic::Pextrw => extract::<u128, u16>,
        Mnemonic::Pextrd | Mnemonic::Extractps => extract::<u128, u32>,
        Mnemonic::Pextrq => extract::<u128, u64>,
        Mnemonic::Insertps => return Some(xmm_m32::<Insertps>(instruction)),
        _ => return None,
    }))
}

/// The low part of a general register, or memory, into the element that the immediate names.
fn insert<V: Vector, L: Lane + Gpr>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let element = source::<L>(core, op, op.src)?;
    let result = with_lane(V::get(core, op.dst), op.imm as usize % count::<L, V>(), element);
    V::set(core, op.dst, result);
    Ok(())
}

/// The element that the immediate names, to memory or zero-extended to a general register.
fn extract<V: Vector, L: Lane + Gpr>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let element = |core: &Core, number: u8| split::<L, V>(V::get(core, number))[op.imm as usize % count::<L, V>()];
    if op.has(prefix::MEMORY) {
        // The vector register is then the only register operand.
        core.write_operand(op, element(core, op.dst))?;
        V::touch(core);
    } else {
        let value = element(core, op.src).u64();
        V::touch(core);
        <u64 as Gpr>::set(&mut core.cpu, op.dst, value);
    }
    Ok(())
}

/// INSERTPS: bits 7:6 choose the source's element (memory has but one), 5:4 where it goes, 3:0 which elements become zero.
struct Insertps;

impl Shape<u128> for Insertps {
    fn run<S: Source<u128>>(core: &mut Core, op: &Op) -> Exec {
        combine::<u128, S>(core, op, |a, b, imm| {
            let from = if S::MEMORY { 0 } else { usize::from(imm >> 6) };
            let inserted = with_lane(a, usize::from(imm >> 4 & 3), split::<u32, u128>(b)[from]);
            (0..4).filter(|index| imm >> index & 1 != 0).fold(inserted, |vector, index| with_lane(vector, index, 0u32))
        })
    }
}
