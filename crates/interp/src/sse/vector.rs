//! Vector registers, and where the source operand of a vector instruction is.
//!
//! Which exceptions come first: availability of the register file (SDM 2A, 2.4, and 3A, 13.1), then those of memory, then numeric ones.

use std::marker::PhantomData;

use cpu::control::{cr0, cr4};
use cpu::tlb::AccessKind;
use cpu::{Fault, Word};

use crate::Op;
use crate::core::{Core, Exec};

/// A vector register's contents: XMM as `u128`, MMX as `u64` (see `mmx`).
pub(crate) trait Vector: Word {
    /// Whether the register file may be used now: #UD, #NM, and for MMX #MF.
    fn enter(core: &mut Core) -> Exec;
    /// Reads register `number`.
    fn get(core: &Core, number: u8) -> Self;
    /// Writes register `number`: part of completing the instruction.
    fn set(core: &mut Core, number: u8, value: Self);
    /// Completes an instruction that only read registers: MMX takes the file over from the x87 in either case.
    fn touch(core: &mut Core);
    /// Zero-extended.
    fn wide(self) -> u128;
    /// The low bits.
    fn narrow(value: u128) -> Self;
}

impl Vector for u128 {
    #[inline(always)]
    fn enter(core: &mut Core) -> Exec {
        if core.cpu.cr0 & (cr0::EM | cr0::TS) == 0 && core.cpu.cr4 & cr4::OSFXSR != 0 {
            return Ok(());
        }
        unavailable(core)
    }
    #[inline(always)]
    fn get(core: &Core, number: u8) -> u128 {
        core.cpu.xmm[number as usize & 15]
    }
    #[inline(always)]
    fn set(core: &mut Core, number: u8, value: u128) {
        core.cpu.xmm[number as usize & 15] = value;
    }
    #[inline(always)]
    fn touch(_: &mut Core) {}
    #[inline(always)]
    fn wide(self) -> u128 {
        self
    }
    #[inline(always)]
    fn narrow(value: u128) -> u128 {
        value
    }
}

/// #UD when the operating system has not enabled SSE, else #NM.
#[cold]
fn unavailable(core: &mut Core) -> Exec {
    let disabled = core.cpu.cr0 & cr0::EM != 0 || core.cpu.cr4 & cr4::OSFXSR == 0;
    Err(core.raise(if disabled { Fault::UD } else { Fault::NM }))
}

/// Where an instruction's source operand is.
pub(crate) trait Source<V> {
    /// The source is memory.
    const MEMORY: bool = true;
    fn read(core: &mut Core, op: &Op) -> Exec<V>;
}

/// A vector register.
pub(crate) struct Register;

impl<V: Vector> Source<V> for Register {
    const MEMORY: bool = false;
    #[inline(always)]
    fn read(core: &mut Core, op: &Op) -> Exec<V> {
        Ok(V::get(core, op.src))
    }
}

/// The immediate byte in place of a source register.
pub(crate) struct Immediate;

impl<V: Vector> Source<V> for Immediate {
    const MEMORY: bool = false;
    #[inline(always)]
    fn read(_: &mut Core, op: &Op) -> Exec<V> {
        Ok(V::of(op.imm & 0xff))
    }
}

/// 16 bytes of memory, aligned.
pub(crate) struct Aligned;

impl Source<u128> for Aligned {
    #[inline(always)]
    fn read(core: &mut Core, op: &Op) -> Exec<u128> {
        let linear = aligned(core, op, AccessKind::Read)?;
        core.load(linear, core.cpu.view, op.seg)
    }
}

/// A word of memory at any address, zero-extended.
pub(crate) struct Unaligned<M>(PhantomData<M>);

impl<V: Vector, M: Word> Source<V> for Unaligned<M> {
    #[inline(always)]
    fn read(core: &mut Core, op: &Op) -> Exec<V> {
        Ok(V::narrow(u128::from_le_bytes(core.read_operand::<M>(op)?.to_le())))
    }
}

/// Stores 16 bytes to the memory operand, aligned.
#[inline(always)]
pub(crate) fn store_aligned(core: &mut Core, op: &Op, value: u128) -> Exec {
    let linear = aligned(core, op, AccessKind::Write)?;
    core.store(linear, core.cpu.view, op.seg, value)
}

/// The linear address of the 16-byte memory operand; #GP(0) where it is not aligned.
#[inline(always)]
fn aligned(core: &mut Core, op: &Op, kind: AccessKind) -> Exec<u64> {
    let linear = core.linear(op.seg, core.effective_address(op), 16, kind)?;
    core.fault_if(linear & 15 != 0, Fault::GP0)?;
    Ok(linear)
}
