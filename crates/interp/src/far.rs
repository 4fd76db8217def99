//! Far JMP, CALL and RET (SDM 3A, 5.8; 2A, CALL, JMP, RET): direct, through memory, through call gates and TSSs. The
//! return to code segments that RET and IRET share is here too.

use cpu::Fault;
use cpu::segment::{self, Access, Segment};
use decode::Selected;
use iced_x86::{Code, Instruction};

use crate::core::{Core, Exec};
use crate::frame::{Frame, Stack};
use crate::operand::Gpr;
use crate::tables::{Found, is_null, kind, null_stack_segment, rpl, selector_error};
use crate::task::{self, Cause};
use crate::{Handler, Op, ends};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(ends(match instruction.code() {
        Code::Jmp_ptr1616 | Code::Jmp_ptr1632 => jmp_direct,
        Code::Jmp_m1616 => jmp_indirect::<u16>,
        Code::Jmp_m1632 => jmp_indirect::<u32>,
        Code::Jmp_m1664 => jmp_indirect::<u64>,
        Code::Call_ptr1616 => call_direct::<u16>,
        Code::Call_ptr1632 => call_direct::<u32>,
        Code::Call_m1616 => call_indirect::<u16>,
        Code::Call_m1632 => call_indirect::<u32>,
        Code::Call_m1664 => call_indirect::<u64>,
        Code::Retfw | Code::Retfw_imm16 => ret::<u16>,
        Code::Retfd | Code::Retfd_imm16 => ret::<u32>,
        Code::Retfq | Code::Retfq_imm16 => ret::<u64>,
        _ => return None,
    }))
}

fn jmp_direct(core: &mut Core, op: &Op) -> Exec {
    jmp(core, (op.imm >> 32) as u16, op.imm & 0xffff_ffff)
}

fn jmp_indirect<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let (selector, offset) = far_pointer::<T>(core, op)?;
    jmp(core, selector, offset)
}

fn call_direct<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    call::<T>(core, (op.imm >> 32) as u16, op.imm & 0xffff_ffff)
}

fn call_indirect<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let (selector, offset) = far_pointer::<T>(core, op)?;
    call::<T>(core, selector, offset)
}

fn far_pointer<T: Gpr>(core: &mut Core, op: &Op) -> Exec<(u16, u64)> {
    let at = core.effective_address(op);
    let offset = core.read::<T>(op.seg, at)?;
    let selector = core.read::<u16>(op.seg, at.wrapping_add(T::SIZE as u64) & op.address_mask())?;
    Ok((selector, offset.u64()))
}

/// Where a far JMP or CALL in protected mode leads.
enum Destination {
    /// A code segment named directly.
    Code(Found),
    /// A call gate: 16-bit or not, parameter count, and its target.
    Gate {
        wide: bool,
        parameters: u8,
        selector: u16,
        offset: u64,
        code: Found,
    },
    Task {
        selector: u16,
    },
}

/// Looks up a selector as the target of a far transfer, with the privilege checks that JMP and CALL share.
fn destination(core: &mut Core, selector: u16) -> Exec<Destination> {
    core.fault_if(is_null(selector), Fault::GP0)?;
    let found = core.load_descriptor(selector, Fault::gp, 0)?;
    let access = found.access();
    let error = selector_error(selector, 0);
    let cpl = core.cpu.cpl;
    let long = core.cpu.long_mode();
    if access.is_code_or_data() {
        let level = if access.is_conforming() { access.dpl() <= cpl } else { rpl(selector) <= cpl && access.dpl() == cpl };
        let size_conflict = long && access.long() && access.big();
        core.fault_if(!access.is_code() || !level || size_conflict, Fault::gp(error))?;
        core.fault_if(!access.is_present(), Fault::np(error))?;
        return Ok(Destination::Code(found));
    }
    let allowed: &[u8] = if long { &[kind::CALL32] } else { &[kind::CALL16, kind::CALL32, kind::TASK_GATE, kind::TSS16, kind::TSS32] };
    let visible = access.dpl() >= cpl.max(rpl(selector));
    core.fault_if(!allowed.contains(&access.kind()) || !visible, Fault::gp(error))?;
    core.fault_if(!access.is_present(), Fault::np(error))?;
    let low = found.descriptor.0;
    let target = (low >> 16) as u16;
    match access.kind() {
        kind::TSS16 | kind::TSS32 => Ok(Destination::Task { selector }),
        kind::TASK_GATE => Ok(Destination::Task { selector: target }),
        kind => {
            let upper = if long { core.load_upper_descriptor(&found, selector)? << 32 } else { 0 };
            let wide = kind == kind::CALL32;
            let offset = if wide { low & 0xffff | low >> 32 & 0xffff_0000 | upper } else { low & 0xffff };
            let code = core.gate_code(target, 0)?;
            Ok(Destination::Gate { wide, parameters: (low >> 32) as u8 & 0x1f, selector: target, offset, code })
        }
    }
}

fn jmp(core: &mut Core, selector: u16, offset: u64) -> Exec {
    if core.cpu.real_or_v86() {
        return jmp_real(core, selector, offset);
    }
    match destination(core, selector)? {
        Destination::Code(code) => jmp_code(core, selector, &code, offset),
        Destination::Gate { selector, offset, code, .. } => {
            let access = code.access();
            let inner = !access.is_conforming() && access.dpl() != core.cpu.cpl;
            core.fault_if(inner, Fault::gp(selector_error(selector, 0)))?;
            jmp_code(core, selector, &code, offset)
        }
        Destination::Task { selector } => task::switch_by_transfer(core, selector, Cause::Jump),
    }
}

fn jmp_real(core: &mut Core, selector: u16, offset: u64) -> Exec {
    core.fault_if(offset > u64::from(core.cpu.seg[segment::CS].limit), Fault::GP0)?;
    core.cpu.load_real_segment(segment::CS, selector);
    core.cpu.update_mode();
    core.cpu.set_rip(offset);
    Ok(())
}

fn jmp_code(core: &mut Core, selector: u16, code: &Found, offset: u64) -> Exec {
    let segment = code.segment(selector & !3 | u16::from(core.cpu.cpl));
    core.check_entry(&segment, offset, 0)?;
    core.mark_accessed(code)?;
    core.enter_code(segment, offset);
    Ok(())
}

fn call<T: Gpr>(core: &mut Core, selector: u16, offset: u64) -> Exec {
    if core.cpu.real_or_v86() {
        push_return(core, T::SIZE as u8, |core| jmp_real(core, selector, offset))
    } else {
        match destination(core, selector)? {
            Destination::Code(code) => push_return(core, T::SIZE as u8, |core| jmp_code(core, selector, &code, offset)),
            Destination::Gate { wide, parameters, selector, offset, code } => {
                let width = if core.cpu.long_mode() {
                    8
                } else if wide {
                    4
                } else {
                    2
                };
                let access = code.access();
                if !access.is_conforming() && access.dpl() < core.cpu.cpl {
                    call_inner(core, width, parameters, selector, offset, &code)
                } else {
                    push_return(core, width, |core| jmp_code(core, selector, &code, offset))
                }
            }
            Destination::Task { selector } => task::switch_by_transfer(core, selector, Cause::Nest),
        }
    }
}

/// Pushes CS and RIP on the present stack around `transfer`, which may still fault. A far call through a 64-bit gate
/// without a change of privilege pushes on the present stack too.
fn push_return(core: &mut Core, width: u8, transfer: impl FnOnce(&mut Core) -> Exec) -> Exec {
    let stack = Stack::current(core, 0);
    let mut frame = Frame::new(width);
    push_return_address(core, &mut frame);
    stack.probe(core, &frame)?;
    let old = (core.cpu.seg[segment::CS], core.cpu.rip());
    let old_stack_mask = core.cpu.stack_mask;
    transfer(core)?;
    let pointer = match stack.write(core, &frame) {
        Ok(pointer) => pointer,
        Err(stop) => {
            core.enter_code(old.0, old.1);
            return Err(stop);
        }
    };
    // The width of the stack pointer is that of the calling code.
    let rsp = &mut core.cpu.regs[4];
    *rsp = if old_stack_mask == 0xffff { *rsp & !0xffff | pointer } else { pointer };
    Ok(())
}

fn push_return_address(core: &Core, frame: &mut Frame) {
    frame.push(u64::from(core.cpu.seg[segment::CS].selector));
    frame.push(core.cpu.rip());
}

/// A call through a gate to a more privileged level, on the stack that the TSS holds for it.
fn call_inner(core: &mut Core, width: u8, parameters: u8, selector: u16, offset: u64, code: &Found) -> Exec {
    let cpl = code.access().dpl();
    let segment = code.segment(selector & !3 | u16::from(cpl));
    let mut frame = Frame::new(width);
    frame.push(u64::from(core.cpu.seg[segment::SS].selector));
    frame.push(core.cpu.regs[4]);
    let (stack, stack_found) = if core.cpu.long_mode() {
        let top = core.tss_stack_64(u32::from(cpl), 0)?;
        (Stack::long(core, top, cpl, 0), None)
    } else {
        let (stack_selector, pointer) = core.tss_stack(cpl, 0)?;
        let found = core.inner_stack_segment(stack_selector, cpl, 0)?;
        for index in (0..u64::from(parameters)).rev() {
            let word = if width == 4 { u64::from(core.peek::<u32>(index * 4)?) } else { u64::from(core.peek::<u16>(index * 2)?) };
            frame.push(word);
        }
        let stack_segment = found.segment(stack_selector);
        (Stack::inner(core, stack_segment, pointer, selector_error(stack_selector, 0)), Some(found))
    };
    push_return_address(core, &mut frame);
    stack.probe(core, &frame)?;
    core.check_entry(&segment, offset, 0)?;
    core.mark_accessed(code)?;
    if let Some(found) = &stack_found {
        core.mark_accessed(found)?;
    }
    let pointer = stack.write(core, &frame)?;
    core.cpu.seg[segment::SS] = if stack_found.is_some() { stack.segment } else { null_stack_segment(cpl) };
    core.enter_code(segment, offset);
    core.set_stack_pointer(pointer);
    Ok(())
}

fn ret<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let width = T::SIZE as u64;
    let released = op.imm & 0xffff;
    let rip = core.peek::<T>(0)?.u64();
    let selector = core.peek::<T>(width)?.u64() as u16;
    if core.cpu.real_or_v86() {
        jmp_real(core, selector, rip)?;
        core.drop_stack(2 * width + released);
        return Ok(());
    }
    let code = return_code(core, selector)?;
    if rpl(selector) == core.cpu.cpl {
        let mask = core.cpu.stack_mask;
        jmp_code(core, selector, &code, rip)?;
        let pointer = core.cpu.regs[4].wrapping_add(2 * width + released) & mask;
        let rsp = &mut core.cpu.regs[4];
        *rsp = if mask == 0xffff { *rsp & !0xffff | pointer } else { pointer };
        return Ok(());
    }
    let pointer = core.peek::<T>(2 * width + released)?.u64();
    let stack_selector = core.peek::<T>(3 * width + released)?.u64() as u16;
    let target = Target { selector, code, rip, stack_selector, pointer: pointer.wrapping_add(released) };
    return_to_stack(core, &target)
}

/// The code segment that RET and IRET return to: never to a more privileged level (SDM 2B, RET).
pub(crate) fn return_code(core: &mut Core, selector: u16) -> Exec<Found> {
    core.fault_if(is_null(selector), Fault::GP0)?;
    let found = core.load_descriptor(selector, Fault::gp, 0)?;
    let access = found.access();
    let error = selector_error(selector, 0);
    let level = rpl(selector);
    let matches = if access.is_conforming() { access.dpl() <= level } else { access.dpl() == level };
    let size_conflict = core.cpu.long_mode() && access.long() && access.big();
    core.fault_if(!access.is_code() || level < core.cpu.cpl || !matches || size_conflict, Fault::gp(error))?;
    core.fault_if(!access.is_present(), Fault::np(error))?;
    Ok(found)
}

/// A return that loads SS and the stack pointer too.
pub(crate) struct Target {
    pub selector: u16,
    pub code: Found,
    pub rip: u64,
    pub stack_selector: u16,
    pub pointer: u64,
}

/// Returns to `target`, whose code segment was checked: to an outer level, or within 64-bit mode to any.
pub(crate) fn return_to_stack(core: &mut Core, target: &Target) -> Exec {
    let cpl = rpl(target.selector);
    let outer = cpl > core.cpu.cpl;
    let to_64_bit = core.cpu.long_mode() && target.code.access().long();
    let stack = if is_null(target.stack_selector) {
        core.fault_if(!to_64_bit || cpl == 3, Fault::GP0)?;
        None
    } else {
        Some(core.check_stack_segment(target.stack_selector, cpl, Fault::gp, 0)?)
    };
    let code = target.code.segment(target.selector);
    core.check_entry(&code, target.rip, 0)?;
    core.mark_accessed(&target.code)?;
    if let Some(found) = &stack {
        core.mark_accessed(found)?;
    }
    core.cpu.seg[segment::SS] = match stack {
        Some(found) => found.segment(target.stack_selector),
        None => Segment { selector: target.stack_selector, ..null_stack_segment(cpl) },
    };
    if outer {
        drop_privileged_segments(core, cpl);
    }
    core.enter_code(code, target.rip);
    core.set_stack_pointer(target.pointer);
    Ok(())
}

/// Nulls the data segments that code of level `cpl` may not have.
fn drop_privileged_segments(core: &mut Core, cpl: u8) {
    for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
        let segment = &mut core.cpu.seg[index];
        let access = segment.access;
        if !access.is_unusable() && !access.is_conforming() && access.dpl() < cpl {
            *segment = Segment { selector: 0, access: Access::UNUSABLE, ..*segment };
        }
    }
}
