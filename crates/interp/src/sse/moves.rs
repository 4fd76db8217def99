//! Moves between vector registers, memory and general registers (SDM 1, 9.4.1, 10.4.1.1, 11.4.1.1; MASKMOV: 10.4.6.2).
//!
//! Non-temporal moves are ordinary ones: caches are not modelled. Insertion and extraction of one element are in `element`.

use cpu::Word;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lanes::{build, byte_signs, signs, split, with_low};
use super::operation::{combine, gather, operations};
use super::vector::{Vector, store_aligned};
use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::{Handler, Op, plain};

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Mmx,
    Xmm,
    General,
}

fn place(instruction: &Instruction, operand: u32) -> Place {
    let register = instruction.op_register(operand);
    match instruction.op_kind(operand) {
        OpKind::Register if register.is_mm() => Place::Mmx,
        OpKind::Register if register.is_xmm() => Place::Xmm,
        OpKind::Register => Place::General,
        _ => Place::Memory,
    }
}

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    use Mnemonic::*;
    use Place::{General, Memory, Mmx, Xmm};
    if instruction.op_count() < 2 {
        return None;
    }
    Some(plain(match (instruction.mnemonic(), place(instruction, 0), place(instruction, 1)) {
        (Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq, Memory, _) => store_whole,
        (Movups | Movupd | Movdqu, Memory, _) => store::<u128, u128, 0>,
        (Movss, Memory, _) => store::<u128, u32, 0>,
        (Movss, _, Memory) => load::<u128, u32>,
        (Movsd | Movlps | Movlpd, Memory, _) => store::<u128, u64, 0>,
        (Movsd, _, Memory) => load::<u128, u64>,
        (Movhps | Movhpd, Memory, _) => store::<u128, u64, 64>,
        (Movd, Mmx, Memory) => load::<u64, u32>,
        (Movd, Xmm, Memory) => load::<u128, u32>,
        (Movd, Memory, Mmx) => store::<u64, u32, 0>,
        (Movd, Memory, Xmm) => store::<u128, u32, 0>,
        (Movd, Mmx, General) => from_general::<u64, u32>,
        (Movd, Xmm, General) => from_general::<u128, u32>,
        (Movd, General, Mmx) => to_general::<u64, u32>,
        (Movd, General, Xmm) => to_general::<u128, u32>,
        (Movq, Mmx, Memory) => load::<u64, u64>,
        (Movq, Xmm, Memory) => load::<u128, u64>,
        (Movq | Movntq, Memory, Mmx) => store::<u64, u64, 0>,
        (Movq, Memory, Xmm) => store::<u128, u64, 0>,
        (Movq, Mmx, General) => from_general::<u64, u64>,
        (Movq, Xmm, General) => from_general::<u128, u64>,
        (Movq, General, Mmx) => to_general::<u64, u64>,
        (Movq, General, Xmm) => to_general::<u128, u64>,
        (Movnti, _, _) if instruction.op1_register().is_gpr64() => store_general::<u64>,
        (Movnti, _, _) => store_general::<u32>,
        (Movdq2q, _, _) => movdq2q,
        (Movq2dq, _, _) => movq2dq,
        (Maskmovq, _, _) => maskmov::<u64>,
        (Maskmovdqu, _, _) => maskmov::<u128>,
        _ => return select_combined(instruction),
    }))
}

operations! { select_combined:
    combine xmm {
        Movaps = |_, b, _| b;
        Movapd = |_, b, _| b;
        Movdqa = |_, b, _| b;
        Movntdqa = |_, b, _| b;
        Movsldup = |_, b, _| duplicate(b, 0);
        Movshdup = |_, b, _| duplicate(b, 1);
    }
    combine xmm_unaligned {
        Movups = |_, b, _| b;
        Movupd = |_, b, _| b;
        Movdqu = |_, b, _| b;
        Lddqu = |_, b, _| b;
    }
    combine mmx_or_xmm {
        /// Between registers: an XMM destination's upper half is cleared.
        Movq = |_, b, _| V::of(b.u64());
    }
    combine xmm_m32 {
        /// Between registers: the rest of the destination stays.
        Movss = |a, b, _| with_low(a, b as u32);
    }
    combine xmm_m64 {
        /// Between registers: the rest of the destination stays.
        Movsd = |a, b, _| with_low(a, b as u64);
        Movlps = |a, b, _| with_low(a, b as u64);
        Movlpd = |a, b, _| with_low(a, b as u64);
        Movhps = |a, b, _| with_high(a, b as u64);
        Movhpd = |a, b, _| with_high(a, b as u64);
        Movlhps = |a, b, _| with_high(a, b as u64);
        Movhlps = |a, b, _| with_low(a, (b >> 64) as u64);
        Movddup = |_, b, _| with_high(b, b as u64);
    }
    gather xmm {
        Movmskps = |b| signs::<u32, u128>(b);
        Movmskpd = |b| signs::<u64, u128>(b);
    }
    gather mmx_or_xmm {
        Pmovmskb = |b| byte_signs(b);
    }
}

fn with_high(a: u128, high: u64) -> u128 {
    u128::from(high) << 64 | a & u128::from(u64::MAX)
}

/// Each even (`odd` = 0) or odd (1) element twice.
#[inline(always)]
fn duplicate(b: u128, odd: usize) -> u128 {
    let b = split::<u32, u128>(b);
    build(|index| b[index & !1 | odd])
}

/// From memory, zero-extended.
fn load<V: Vector, M: Word>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let value = core.read_operand::<M>(op)?;
    V::set(core, op.dst, V::of(value.u64()));
    Ok(())
}

/// To memory at any address: the register's bits from `FROM` on.
fn store<V: Vector, M: Word, const FROM: u32>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let bits = V::get(core, op.dst).wide() >> FROM;
    core.write_operand(op, M::from_le(bits.to_le_bytes()))?;
    V::touch(core);
    Ok(())
}

/// To 16 aligned bytes.
fn store_whole(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    store_aligned(core, op, u128::get(core, op.dst))
}

/// MOVNTI, which needs no vector register.
fn store_general<G: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.write_operand(op, G::get(&core.cpu, op.dst))
}

fn from_general<V: Vector, G: Gpr>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    V::set(core, op.dst, V::of(G::get(&core.cpu, op.src).u64()));
    Ok(())
}

fn to_general<V: Vector, G: Gpr>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let value = V::get(core, op.src);
    V::touch(core);
    G::set(&mut core.cpu, op.dst, G::of(value.u64()));
    Ok(())
}

fn movdq2q(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    u64::enter(core)?;
    let value = u128::get(core, op.src) as u64;
    <u64 as Vector>::set(core, op.dst, value);
    Ok(())
}

fn movq2dq(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    u64::enter(core)?;
    let value = <u64 as Vector>::get(core, op.src);
    u64::touch(core);
    u128::set(core, op.dst, u128::from(value));
    Ok(())
}

/// MASKMOVQ, MASKMOVDQU: stores at DS:rDI the bytes whose mask byte is negative. Bytes that are not stored are not accessed either, so
/// that they cannot fault (implementation-specific; the table says so).
fn maskmov<V: Vector>(core: &mut Core, op: &Op) -> Exec {
    V::enter(core)?;
    let mask = byte_signs(V::get(core, op.src));
    let bytes = V::get(core, op.dst).to_le();
    let at = |core: &Core, index: usize| core.cpu.regs[7].wrapping_add(index as u64) & op.address_mask();
    let selected = || (0..V::SIZE).filter(|index| mask >> index & 1 != 0);
    for index in selected() {
        core.probe(op.seg, at(core, index), 1)?;
    }
    for index in selected() {
        core.write(op.seg, at(core, index), bytes[index])?;
    }
    V::touch(core);
    Ok(())
}
