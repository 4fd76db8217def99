//! Software interrupts and the return from any interrupt (SDM 2A, INT n, IRET, BOUND): INT INT1 INT3 INTO BOUND
//! IRET IRETD IRETQ.

use cpu::fault::vector;
use cpu::flags::bit;
use cpu::{Fault, Mode, segment};
use decode::Selected;
use iced_x86::{Code, Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::deliver::{SoftwareKind, software_interrupt};
use crate::far::{Target, return_code, return_to_stack};
use crate::operand::{Gpr, sign_extend};
use crate::tables::rpl;
use crate::task;
use crate::{Handler, Op, ends, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Int => ends(int),
        Mnemonic::Int1 => ends(int1),
        Mnemonic::Int3 => ends(int3),
        Mnemonic::Into => ends(into),
        Mnemonic::Bound if instruction.code() == Code::Bound_r16_m1616 => plain(bound::<u16>),
        Mnemonic::Bound => plain(bound::<u32>),
        Mnemonic::Iret => ends(iret::<u16>),
        Mnemonic::Iretd => ends(iret::<u32>),
        Mnemonic::Iretq => ends(iret::<u64>),
        _ => return None,
    })
}

/// In virtual-8086 mode INT n is sensitive to IOPL, unlike the one-byte forms.
fn int(core: &mut Core, op: &Op) -> Exec {
    core.fault_if(core.cpu.mode == Mode::Virtual8086 && core.cpu.flags.iopl() < 3, Fault::GP0)?;
    software_interrupt(core, op.imm as u8, SoftwareKind::Checked)
}

fn int1(core: &mut Core, _: &Op) -> Exec {
    software_interrupt(core, vector::DB, SoftwareKind::Icebp)
}

fn int3(core: &mut Core, _: &Op) -> Exec {
    software_interrupt(core, vector::BP, SoftwareKind::Checked)
}

fn into(core: &mut Core, _: &Op) -> Exec {
    if core.cpu.flags.of() { software_interrupt(core, vector::OF, SoftwareKind::Checked) } else { Ok(()) }
}

fn bound<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let at = core.effective_address(op);
    let lower = sign_extend(core.read::<T>(op.seg, at)?) as i64;
    let upper = sign_extend(core.read::<T>(op.seg, at.wrapping_add(T::SIZE as u64) & op.address_mask())?) as i64;
    let index = sign_extend(T::get(&core.cpu, op.dst)) as i64;
    core.fault_if(index < lower || index > upper, Fault::BR)
}

/// Flags that IRET restores at any privilege level, for an operand of `size` bytes. RF is not kept, see `deliver`.
fn restorable(size: usize) -> u64 {
    let low = bit::ARITH | bit::TF | bit::DF | bit::NT;
    if size == 2 { low } else { low | bit::AC | bit::ID }
}

/// Replaces the flags in `mask`.
fn restore_flags(core: &mut Core, value: u64, mask: u64) {
    let kept = core.cpu.flags.get() & !mask & !bit::RF;
    core.cpu.flags.set(kept | value & mask);
}

fn iret<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    match core.cpu.mode {
        Mode::Real => iret_real::<T>(core, restorable(T::SIZE) | bit::IF | bit::IOPL),
        Mode::Virtual8086 => {
            core.fault_if(core.cpu.flags.iopl() < 3, Fault::GP0)?;
            iret_real::<T>(core, restorable(T::SIZE) | bit::IF)
        }
        _ => iret_protected::<T>(core),
    }?;
    core.attention.nmi_blocked = false;
    core.leave_block();
    Ok(())
}

/// The three words that every IRET pops.
fn pop_frame<T: Gpr>(core: &mut Core) -> Exec<(u64, u16, u64)> {
    let width = T::SIZE as u64;
    let rip = core.peek::<T>(0)?.u64();
    let selector = core.peek::<T>(width)?.u64() as u16;
    Ok((rip, selector, core.peek::<T>(2 * width)?.u64()))
}

fn iret_real<T: Gpr>(core: &mut Core, mask: u64) -> Exec {
    let (rip, selector, flags) = pop_frame::<T>(core)?;
    core.fault_if(rip > u64::from(core.cpu.seg[segment::CS].limit), Fault::GP0)?;
    core.drop_stack(3 * T::SIZE as u64);
    restore_flags(core, flags, mask);
    core.cpu.load_real_segment(segment::CS, selector);
    core.cpu.update_mode();
    core.cpu.set_rip(rip);
    Ok(())
}

fn iret_protected<T: Gpr>(core: &mut Core) -> Exec {
    if core.cpu.flags.has(bit::NT) {
        core.fault_if(core.cpu.long_mode(), Fault::GP0)?;
        return task::return_to_linked_task(core);
    }
    let width = T::SIZE as u64;
    let (rip, selector, flags) = pop_frame::<T>(core)?;
    let cpl = core.cpu.cpl;
    if T::SIZE == 4 && flags & bit::VM != 0 && cpl == 0 && !core.cpu.long_mode() {
        return iret_to_v86(core, rip, selector, flags);
    }
    let mut mask = restorable(T::SIZE);
    if cpl <= core.cpu.flags.iopl() {
        mask |= bit::IF;
    }
    if cpl == 0 {
        mask |= bit::IOPL | if T::SIZE == 2 { 0 } else { bit::VIF | bit::VIP };
    }
    let code = return_code(core, selector)?;
    if core.in_64_bit_mode() || rpl(selector) > cpl {
        let pointer = core.peek::<T>(3 * width)?.u64();
        let stack_selector = core.peek::<T>(4 * width)?.u64() as u16;
        return_to_stack(core, &Target { selector, code, rip, stack_selector, pointer })?;
    } else {
        let segment = code.segment(selector);
        core.check_entry(&segment, rip, 0)?;
        core.mark_accessed(&code)?;
        core.drop_stack(3 * width);
        core.enter_code(segment, rip);
    }
    restore_flags(core, flags, mask);
    core.cpu.update_view();
    Ok(())
}

/// SDM 3A, 20.2.5: to a virtual-8086 task, with all segments on the stack.
fn iret_to_v86(core: &mut Core, rip: u64, selector: u16, flags: u64) -> Exec {
    let mut words = [0u32; 6];
    for (index, word) in words.iter_mut().enumerate() {
        *word = core.peek(12 + 4 * index as u64)?;
    }
    core.fault_if(rip > 0xffff, Fault::GP0)?;
    let [pointer, ss, es, ds, fs, gs] = words;
    core.cpu.flags.set(flags & !bit::RF);
    core.cpu.update_mode();
    core.cpu.load_real_segment(segment::CS, selector);
    for (index, word) in [(segment::SS, ss), (segment::ES, es), (segment::DS, ds), (segment::FS, fs), (segment::GS, gs)] {
        core.cpu.load_real_segment(index, word as u16);
    }
    core.cpu.update_mode();
    core.cpu.regs[4] = u64::from(pointer);
    core.cpu.set_rip(rip);
    Ok(())
}
