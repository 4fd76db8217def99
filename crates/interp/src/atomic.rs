//! XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B (SDM 2A, 2B). With or without LOCK they are atomic here: nothing else runs
//! between an instruction's accesses.

use cpu::Fault;
use decode::Selected;
use decode::op::prefix::MEMORY;
use iced_x86::{Instruction, Mnemonic};

use crate::arith::{add, sub};
use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_size, operand_size};
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let size = operand_size(instruction);
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Xchg => by_size!(size, xchg),
        Mnemonic::Xadd => by_size!(size, xadd),
        Mnemonic::Cmpxchg => by_size!(size, cmpxchg),
        Mnemonic::Cmpxchg8b => cmpxchg8b,
        Mnemonic::Cmpxchg16b => cmpxchg16b,
        _ => return None,
    }))
}

/// Registers change only after the memory write can no longer fail.
fn xchg<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    if op.has(MEMORY) {
        let new = T::get(&core.cpu, op.dst);
        let mut old = T::default();
        core.update_operand::<T>(op, |_, value| {
            old = value;
            new
        })?;
        T::set(&mut core.cpu, op.dst, old);
        return Ok(());
    }
    let (a, b) = (T::get(&core.cpu, op.dst), T::get(&core.cpu, op.src));
    T::set(&mut core.cpu, op.dst, b);
    T::set(&mut core.cpu, op.src, a);
    Ok(())
}

fn xadd<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    if op.has(MEMORY) {
        let addend = T::get(&core.cpu, op.dst);
        let mut old = T::default();
        core.update_operand::<T>(op, |core, value| {
            old = value;
            add(&mut core.cpu.flags, value, addend, 0)
        })?;
        T::set(&mut core.cpu, op.dst, old);
        return Ok(());
    }
    let (a, b) = (T::get(&core.cpu, op.dst), T::get(&core.cpu, op.src));
    let sum = add(&mut core.cpu.flags, a, b, 0);
    T::set(&mut core.cpu, op.src, a);
    T::set(&mut core.cpu, op.dst, sum);
    Ok(())
}

/// A destination in memory is written in either case: with what it held when the comparison fails. One in a register is not
/// touched then, nor its upper half cleared.
fn cmpxchg<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let expected = T::get(&core.cpu, 0);
    if op.has(MEMORY) {
        let new = T::get(&core.cpu, op.dst);
        let mut old = T::default();
        core.update_operand::<T>(op, |core, value| {
            old = value;
            sub(&mut core.cpu.flags, expected, value, 0);
            if value == expected { new } else { value }
        })?;
        if old != expected {
            T::set(&mut core.cpu, 0, old);
        }
        return Ok(());
    }
    let (old, new) = (T::get(&core.cpu, op.dst), T::get(&core.cpu, op.src));
    sub(&mut core.cpu.flags, expected, old, 0);
    if old == expected {
        T::set(&mut core.cpu, op.dst, new);
    } else {
        T::set(&mut core.cpu, 0, old);
    }
    Ok(())
}

fn cmpxchg8b(core: &mut Core, op: &Op) -> Exec {
    let half = |core: &Core, high: u8, low: u8| u64::from(u32::get(&core.cpu, high)) << 32 | u64::from(u32::get(&core.cpu, low));
    let (expected, new) = (half(core, 2, 0), half(core, 1, 3));
    let mut old = 0;
    core.update_operand::<u64>(op, |_, value| {
        old = value;
        if value == expected { new } else { value }
    })?;
    core.cpu.flags.set_zf(old == expected);
    if old != expected {
        u32::set(&mut core.cpu, 0, old as u32);
        u32::set(&mut core.cpu, 2, (old >> 32) as u32);
    }
    Ok(())
}

fn cmpxchg16b(core: &mut Core, op: &Op) -> Exec {
    let address = core.effective_address(op);
    if !core.cpu.seg[op.seg as usize & 7].base.wrapping_add(address).is_multiple_of(16) {
        return Err(core.raise(Fault::GP0));
    }
    let half = |core: &Core, high: usize, low: usize| u128::from(core.cpu.regs[high]) << 64 | u128::from(core.cpu.regs[low]);
    let (expected, new) = (half(core, 2, 0), half(core, 1, 3));
    let mut old = 0u128;
    core.update_operand::<u128>(op, |_, value| {
        old = value;
        if value == expected { new } else { value }
    })?;
    core.cpu.flags.set_zf(old == expected);
    if old != expected {
        core.cpu.regs[0] = old as u64;
        core.cpu.regs[2] = (old >> 64) as u64;
    }
    Ok(())
}
