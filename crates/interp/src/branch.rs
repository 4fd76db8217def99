//! Near transfers: JMP Jcc JCXZ LOOPcc CALL RET (SDM 2A, 2B). Far ones are in `far`.
//!
//! A target outside the code segment, or not canonical, faults at the branch. In 64-bit mode the operand size is always 64 bits.

use cpu::{Fault, RIP};
use decode::Selected;
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use crate::core::{Core, Exec};
use crate::mov::{by_condition, condition};
use crate::operand::{Gpr, by_width, source};
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    use Mnemonic as M;
    let code = condition(instruction);
    let size = branch_size(instruction);
    let direct = !matches!(instruction.op0_kind(), OpKind::Register | OpKind::Memory);
    let far = matches!(instruction.op0_kind(), OpKind::FarBranch16 | OpKind::FarBranch32)
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect();
    if far {
        return None;
    }
    Some(plain(match instruction.mnemonic() {
        M::Jmp if direct => by_width!(size, jmp),
        M::Jmp => by_width!(size, jmp_indirect),
        M::Call if direct => by_width!(size, call),
        M::Call => by_width!(size, call_indirect),
        M::Ret => by_width!(size, ret),
        M::Jcxz | M::Jecxz | M::Jrcxz => by_width!(size, jcxz),
        M::Loop => by_width!(size, loop_always),
        M::Loope => by_width!(size, loop_while_equal),
        M::Loopne => by_width!(size, loop_while_not_equal),
        _ if instruction.is_jcc_short_or_near() => match size {
            2 => by_condition!(code, jcc, u16),
            4 => by_condition!(code, jcc, u32),
            _ => by_condition!(code, jcc, u64),
        },
        _ => return None,
    }))
}

/// Operand size of a near branch in bytes.
fn branch_size(instruction: &Instruction) -> usize {
    match instruction.code() {
        // RET has no operand, or only how much more to drop.
        Code::Retnw | Code::Retnw_imm16 => 2,
        Code::Retnd | Code::Retnd_imm16 => 4,
        Code::Retnq | Code::Retnq_imm16 => 8,
        _ => match instruction.op0_kind() {
            OpKind::NearBranch16 => 2,
            OpKind::NearBranch32 => 4,
            OpKind::Register => instruction.op0_register().size(),
            OpKind::Memory => instruction.memory_size().size(),
            _ => 8,
        },
    }
}

/// The target cut to the operand size, if the code segment reaches it.
#[inline(always)]
fn checked_target<T: Gpr>(core: &mut Core, target: u64) -> Exec<u64> {
    let target = T::of(target).u64();
    let valid =
        if core.cpu.code_bits == 64 { core.cpu.is_canonical(target) } else { target <= u64::from(core.cpu.seg[cpu::segment::CS].limit) };
    if valid { Ok(target) } else { Err(core.raise(Fault::GP0)) }
}

#[inline(always)]
fn go<T: Gpr>(core: &mut Core, target: u64) -> Exec {
    let target = checked_target::<T>(core, target)?;
    core.cpu.regs[RIP as usize] = target;
    Ok(())
}

fn jmp<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    go::<T>(core, core.cpu.rip().wrapping_add(op.imm))
}

fn jmp_indirect<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let target = source::<T>(core, op, op.dst)?.u64();
    go::<T>(core, target)
}

fn jcc<T: Gpr, const CONDITION: u8>(core: &mut Core, op: &Op) -> Exec {
    if core.cpu.flags.condition(CONDITION) { jmp::<T>(core, op) } else { Ok(()) }
}

#[inline(always)]
fn call_to<T: Gpr>(core: &mut Core, target: u64) -> Exec {
    let target = checked_target::<T>(core, target)?;
    core.push(T::of(core.cpu.rip()))?;
    core.cpu.regs[RIP as usize] = target;
    Ok(())
}

fn call<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    call_to::<T>(core, core.cpu.rip().wrapping_add(op.imm))
}

fn call_indirect<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let target = source::<T>(core, op, op.dst)?.u64();
    call_to::<T>(core, target)
}

fn ret<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let target = core.peek::<T>(0)?.u64();
    go::<T>(core, target)?;
    core.drop_stack(T::SIZE as u64 + (op.imm & 0xffff));
    Ok(())
}

/// rCX in the address size.
#[inline(always)]
fn counter(core: &Core, op: &Op) -> u64 {
    core.cpu.regs[1] & op.address_mask()
}

fn jcxz<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    if counter(core, op) == 0 { jmp::<T>(core, op) } else { Ok(()) }
}

/// LOOPcc: the counter changes only if the branch itself does not fault.
#[inline(always)]
fn loop_if<T: Gpr>(core: &mut Core, op: &Op, wanted: bool) -> Exec {
    let count = counter(core, op).wrapping_sub(1) & op.address_mask();
    if wanted && count != 0 {
        jmp::<T>(core, op)?;
    }
    core.set_index(op, 1, count);
    Ok(())
}

fn loop_always<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    loop_if::<T>(core, op, true)
}

fn loop_while_equal<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let equal = core.cpu.flags.zf();
    loop_if::<T>(core, op, equal)
}

fn loop_while_not_equal<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let equal = core.cpu.flags.zf();
    loop_if::<T>(core, op, !equal)
}

impl Core {
    /// Writes a counter or index register in the address size of `op`: 16 bits merge, 32 clear the upper half.
    #[inline(always)]
    pub(crate) fn set_index(&mut self, op: &Op, number: usize, value: u64) {
        let register = &mut self.cpu.regs[number & 15];
        *register = if op.address_size == 0 { *register & !0xffff | value & 0xffff } else { value & op.address_mask() };
    }
}
