//! PUSH POP PUSHA POPA ENTER LEAVE (SDM 2A, 2B). Flags and segment registers are pushed and popped in the system families.

use decode::Selected;
use decode::op::prefix::MEMORY;
use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_width, source};
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    use Mnemonic as M;
    // The stack pointer's change is the operand size, whatever the operand is.
    let size = instruction.stack_pointer_increment().unsigned_abs() as usize;
    let segment = instruction.op0_register().is_segment_register();
    Some(plain(match (instruction.mnemonic(), instruction.op0_kind()) {
        (M::Push, OpKind::Register) if segment => return None,
        (M::Pop, OpKind::Register) if segment => return None,
        (M::Push, OpKind::Register | OpKind::Memory) => by_width!(size, push),
        (M::Push, _) => by_width!(size, push_imm),
        (M::Pop, OpKind::Register) => by_width!(size, pop_r),
        (M::Pop, _) => by_width!(size, pop_m),
        (M::Pusha, _) => push_all::<u16>,
        (M::Pushad, _) => push_all::<u32>,
        (M::Popa, _) => pop_all::<u16>,
        (M::Popad, _) => pop_all::<u32>,
        (M::Enter, _) => match instruction.code() {
            iced_x86::Code::Enterw_imm16_imm8 => enter::<u16>,
            iced_x86::Code::Enterd_imm16_imm8 => enter::<u32>,
            _ => enter::<u64>,
        },
        (M::Leave, _) => match instruction.code() {
            iced_x86::Code::Leavew => leave::<u16>,
            iced_x86::Code::Leaved => leave::<u32>,
            _ => leave::<u64>,
        },
        _ => return None,
    }))
}

const RSP: u8 = 4;
const RBP: u8 = 5;

fn push<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = source::<T>(core, op, op.dst)?;
    core.push(value)
}

fn push_imm<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.push(T::of(op.imm))
}

fn pop_r<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = core.peek::<T>(0)?;
    core.drop_stack(T::SIZE as u64);
    T::set(&mut core.cpu, op.dst, value);
    Ok(())
}

/// The destination's address is computed with the stack pointer already moved.
fn pop_m<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    debug_assert!(op.has(MEMORY), "selected for memory operands");
    let value = core.peek::<T>(0)?;
    let pointer = core.cpu.regs[RSP as usize];
    core.drop_stack(T::SIZE as u64);
    core.write_operand(op, value).inspect_err(|_| core.cpu.regs[RSP as usize] = pointer)
}

fn push_all<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    let pointer = core.cpu.regs[RSP as usize];
    let restore = |core: &mut Core| core.cpu.regs[RSP as usize] = pointer;
    for number in 0..8 {
        let value = if number == RSP { T::of(pointer) } else { T::get(&core.cpu, number) };
        core.push(value).inspect_err(|_| restore(core))?;
    }
    Ok(())
}

fn pop_all<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    let mut values = [T::default(); 8];
    for (slot, value) in values.iter_mut().enumerate() {
        *value = core.peek(slot as u64 * T::SIZE as u64)?;
    }
    core.drop_stack(8 * T::SIZE as u64);
    // EDI first, EAX last; the stored stack pointer is thrown away.
    for (slot, value) in values.into_iter().enumerate() {
        let number = 7 - slot as u8;
        if number != RSP {
            T::set(&mut core.cpu, number, value);
        }
    }
    Ok(())
}

/// ENTER: the frame pointers of outer procedures are copied for nesting levels above 0.
fn enter<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let level = op.third & 31;
    let pointer = core.cpu.regs[RSP as usize];
    let result = enter_frame::<T>(core, op.imm & 0xffff, level);
    if result.is_err() {
        core.cpu.regs[RSP as usize] = pointer;
    }
    result
}

fn enter_frame<T: Gpr>(core: &mut Core, size: u64, level: u8) -> Exec {
    core.push(T::get(&core.cpu, RBP))?;
    let frame = core.cpu.regs[RSP as usize];
    let mask = core.cpu.stack_mask;
    for nesting in 1..level {
        let at = core.cpu.regs[RBP as usize].wrapping_sub(u64::from(nesting) * T::SIZE as u64) & mask;
        let outer = core.read::<T>(core.stack_segment(), at)?;
        core.push(outer)?;
    }
    if level > 0 {
        core.push(T::of(frame))?;
    }
    let pointer = core.cpu.regs[RSP as usize].wrapping_sub(size) & mask;
    // The new top is probed as a push there would be (SDM 2A, ENTER).
    core.probe(core.stack_segment(), pointer, T::SIZE)?;
    core.set_stack_pointer(pointer);
    T::set(&mut core.cpu, RBP, T::of(frame));
    Ok(())
}

fn leave<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    let mask = core.cpu.stack_mask;
    let frame = core.cpu.regs[RBP as usize] & mask;
    let value = core.read::<T>(core.stack_segment(), frame)?;
    core.set_stack_pointer(frame.wrapping_add(T::SIZE as u64));
    T::set(&mut core.cpu, RBP, value);
    Ok(())
}
