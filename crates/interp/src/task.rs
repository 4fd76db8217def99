//! Hardware task switches (SDM 3A, chapter 7): by far JMP and CALL, by task gates, and back by IRET with NT set.
//! IA-32e mode has none.
//!
//! A switch checks all it can before it changes anything. What comes after the point of no return (the new task's
//! segments) faults in the new task, so such a fault is delivered here and the switching instruction counts as complete.
//! A switch cannot start over either, so a TSS or a stack in device space is shutdown.

use cpu::control::cr0;
use cpu::flags::bit;
use cpu::segment::{self, Access, Segment};
use cpu::tlb::AccessKind;
use cpu::{Fault, RIP};

use crate::core::{Core, Exec, Stop};
use crate::deliver::deliver_fault;
use crate::frame::{Frame, Stack};
use crate::tables::{Found, is_null, kind, null_stack_segment, rpl, selector_error};

/// Where the fields of a TSS lie (SDM 3A, figures 7-2 and 7-10).
struct Layout {
    /// Bytes of a register field.
    width: u64,
    /// Instruction pointer, then the flags.
    ip: u64,
    /// Eight registers in encoding order.
    registers: u64,
    /// Segment selectors from ES on, each in a field of `width`.
    selectors: u64,
    selector_count: u64,
    ldt: u64,
    /// Smallest limit.
    limit: u32,
}

const LAYOUT16: Layout = Layout { width: 2, ip: 0x0e, registers: 0x12, selectors: 0x22, selector_count: 4, ldt: 0x2a, limit: 0x2b };
const LAYOUT32: Layout = Layout { width: 4, ip: 0x20, registers: 0x28, selectors: 0x48, selector_count: 6, ldt: 0x60, limit: 0x67 };
/// CR3 of a 32-bit TSS.
const CR3: u64 = 0x1c;
/// The trap flag (bit 0) of a 32-bit TSS.
const TRAP: u64 = 0x64;
const BUSY: u8 = 2;

fn layout(tss: Access) -> &'static Layout {
    if tss.kind() & 8 != 0 { &LAYOUT32 } else { &LAYOUT16 }
}

/// What makes the switch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Jump,
    /// CALL and events: the new task is nested in the old one.
    Nest,
    Return,
}

/// What the new TSS holds.
struct Incoming {
    rip: u64,
    flags: u64,
    registers: [u64; 8],
    selectors: [u16; 6],
    ldt: u16,
    cr3: Option<u64>,
    trap: bool,
}

/// Delivers an event through a task gate whose TSS selector is `selector`.
pub(crate) fn deliver_through_task_gate(core: &mut Core, selector: u16, error: Option<u32>, ext: u32, flags: u64) -> Exec {
    switch(core, selector, Cause::Nest, error, ext, flags)
}

/// Switches to the task of a TSS selector, for a far JMP or CALL. RIP is the next instruction's.
pub(crate) fn switch_by_transfer(core: &mut Core, selector: u16, cause: Cause) -> Exec {
    let flags = core.cpu.flags.get();
    switch(core, selector, cause, None, 0, flags)
}

/// IRET with NT set: back to the task that the present TSS links to.
pub(crate) fn return_to_linked_task(core: &mut Core) -> Exec {
    let selector = core.read_system(core.cpu.tr.base)?;
    let flags = core.cpu.flags.get() & !bit::NT;
    switch(core, selector, Cause::Return, None, 0, flags)
}

fn switch(core: &mut Core, selector: u16, cause: Cause, error: Option<u32>, ext: u32, flags: u64) -> Exec {
    let result = switch_in_ram(core, selector, cause, error, ext, flags);
    if result == Err(Stop::Exit) {
        core.device.wanted = None;
        core.device.finish();
        return Err(Stop::Shutdown);
    }
    result
}

fn switch_in_ram(core: &mut Core, selector: u16, cause: Cause, error: Option<u32>, ext: u32, flags: u64) -> Exec {
    let found = check_target(core, selector, cause, ext)?;
    let segment = found.descriptor.segment(selector);
    let incoming = read_incoming(core, &segment)?;
    let old = core.cpu.tr;
    let old_descriptor = core.find_descriptor(old.selector)?;
    probe(core, old.base, layout(old.access).limit)?;
    probe(core, segment.base, layout(segment.access).limit)?;
    probe(core, found.linear, 7)?;
    if let Some(old_descriptor) = &old_descriptor {
        probe(core, old_descriptor.linear, 7)?;
    }
    save_outgoing(core, &old, flags)?;
    if cause != Cause::Nest
        && let Some(old_descriptor) = &old_descriptor
    {
        core.write_system(old_descriptor.linear.wrapping_add(5), old_descriptor.access().0 as u8 & !BUSY)?;
    }
    if cause == Cause::Nest {
        core.write_system(segment.base, old.selector)?;
    }
    core.write_system(found.linear.wrapping_add(5), found.access().0 as u8 | BUSY)?;
    core.cpu.tr = Segment { access: Access(segment.access.0 | u32::from(BUSY)), ..segment };
    let wide = layout(segment.access).width == 4;
    let nested = if cause == Cause::Nest { bit::NT } else { 0 };
    enter(core, &incoming, nested);
    match load_segments(core, &incoming).and_then(|()| push_error(core, error, wide)) {
        Ok(()) if incoming.trap => {
            // DR6.BT: a task switch trapped.
            core.cpu.dr[6] |= 1 << 15;
            deliver_fault(core, Fault::DB)
        }
        Ok(()) => Ok(()),
        Err(Stop::Fault) => deliver_fault(core, core.fault),
        Err(stop) => Err(stop),
    }
}

/// The checks on the new TSS's descriptor (SDM 3A, 7.3).
fn check_target(core: &mut Core, selector: u16, cause: Cause, ext: u32) -> Exec<Found> {
    let fault: fn(u32) -> Fault = if cause == Cause::Return { Fault::ts } else { Fault::gp };
    let error = selector_error(selector, ext);
    core.fault_if(is_null(selector) || selector & 4 != 0, fault(error))?;
    let found = core.load_descriptor(selector, fault, ext)?;
    let wanted: [u8; 2] = if cause == Cause::Return { [kind::TSS16_BUSY, kind::TSS32_BUSY] } else { [kind::TSS16, kind::TSS32] };
    let access = found.access();
    core.fault_if(access.is_code_or_data() || !wanted.contains(&access.kind()), fault(error))?;
    core.fault_if(!access.is_present(), Fault::np(error))?;
    core.fault_if(found.descriptor.limit() < layout(access).limit, Fault::ts(error))?;
    Ok(found)
}

/// Checks that the `last + 1` bytes at `linear` can be written.
fn probe(core: &mut Core, linear: u64, last: u32) -> Exec {
    for at in [linear, linear.wrapping_add(u64::from(last))] {
        let view = core.cpu.system_view();
        core.translate(at & 0xffff_ffff, AccessKind::Write, view, segment::FLAT as u8)?;
    }
    Ok(())
}

fn read_field(core: &mut Core, at: u64, width: u64) -> Exec<u64> {
    if width == 4 { Ok(u64::from(core.read_system::<u32>(at)?)) } else { Ok(u64::from(core.read_system::<u16>(at)?)) }
}

fn write_field(core: &mut Core, at: u64, width: u64, value: u64) -> Exec {
    if width == 4 { core.write_system(at, value as u32) } else { core.write_system(at, value as u16) }
}

fn read_incoming(core: &mut Core, tss: &Segment) -> Exec<Incoming> {
    let layout = layout(tss.access);
    let base = tss.base;
    let mut incoming = Incoming {
        rip: read_field(core, base + layout.ip, layout.width)?,
        flags: read_field(core, base + layout.ip + layout.width, layout.width)?,
        registers: [0; 8],
        selectors: [0; 6],
        ldt: core.read_system(base + layout.ldt)?,
        cr3: None,
        trap: false,
    };
    for index in 0..8 {
        incoming.registers[index as usize] = read_field(core, base + layout.registers + index * layout.width, layout.width)?;
    }
    for index in 0..layout.selector_count {
        incoming.selectors[index as usize] = core.read_system(base + layout.selectors + index * layout.width)?;
    }
    if layout.width == 4 {
        incoming.cr3 = Some(read_field(core, base + CR3, 4)?);
        incoming.trap = core.read_system::<u8>(base + TRAP)? & 1 != 0;
    }
    Ok(incoming)
}

fn save_outgoing(core: &mut Core, tss: &Segment, flags: u64) -> Exec {
    let layout = layout(tss.access);
    let base = tss.base;
    write_field(core, base + layout.ip, layout.width, core.cpu.rip())?;
    write_field(core, base + layout.ip + layout.width, layout.width, flags)?;
    for index in 0..8 {
        let value = core.cpu.regs[index as usize];
        write_field(core, base + layout.registers + index * layout.width, layout.width, value)?;
    }
    for index in 0..layout.selector_count {
        let selector = core.cpu.seg[index as usize].selector;
        core.write_system(base + layout.selectors + index * layout.width, selector)?;
    }
    Ok(())
}

/// The point of no return: everything but the hidden parts of the segment registers. The upper halves that a 16-bit
/// TSS does not hold are undefined; the table says 0.
fn enter(core: &mut Core, incoming: &Incoming, nested: u64) {
    core.cpu.cr0 |= cr0::TS;
    if core.cpu.cr0 & cr0::PG != 0
        && let Some(cr3) = incoming.cr3
    {
        core.cpu.cr3 = cr3;
        core.cpu.tlb.flush();
    }
    core.cpu.regs[..8].copy_from_slice(&incoming.registers);
    core.cpu.regs[RIP as usize] = incoming.rip;
    let v86 = if incoming.cr3.is_some() { bit::VM } else { 0 };
    core.cpu.flags.set(incoming.flags & !bit::RF & !(bit::VM ^ v86) | nested);
    core.cpu.dr[7] &= !0x155;
    for (index, &selector) in incoming.selectors.iter().enumerate() {
        core.cpu.seg[index] = Segment::null(selector);
    }
    let cpl = rpl(incoming.selectors[segment::CS]);
    core.cpu.seg[segment::SS] = Segment { selector: incoming.selectors[segment::SS], ..null_stack_segment(cpl) };
    core.cpu.ldtr = Segment::null(incoming.ldt);
    core.cpu.update_mode();
    core.leave_block();
}

/// Loads the new task's LDT and segments; every failure is #TS, #NP or #SS in the new task.
fn load_segments(core: &mut Core, incoming: &Incoming) -> Exec {
    if !is_null(incoming.ldt) {
        let error = selector_error(incoming.ldt, 0);
        core.fault_if(incoming.ldt & 4 != 0, Fault::ts(error))?;
        let found = core.load_descriptor(incoming.ldt, Fault::ts, 0)?;
        let access = found.access();
        let valid = !access.is_code_or_data() && access.kind() == kind::LDT && access.is_present();
        core.fault_if(!valid, Fault::ts(error))?;
        core.cpu.ldtr = found.descriptor.segment(incoming.ldt);
    }
    if core.cpu.flags.has(bit::VM) {
        for (index, &selector) in incoming.selectors.iter().enumerate() {
            core.cpu.load_real_segment(index, selector);
        }
        core.cpu.update_mode();
        core.cpu.set_rip(incoming.rip);
        return Ok(());
    }
    let selector = incoming.selectors[segment::CS];
    let cpl = rpl(selector);
    let error = selector_error(selector, 0);
    core.fault_if(is_null(selector), Fault::ts(0))?;
    let code = core.load_descriptor(selector, Fault::ts, 0)?;
    let access = code.access();
    let level = if access.is_conforming() { access.dpl() <= cpl } else { access.dpl() == cpl };
    core.fault_if(!access.is_code() || !level, Fault::ts(error))?;
    core.fault_if(!access.is_present(), Fault::np(error))?;
    let stack = core.inner_stack_segment(incoming.selectors[segment::SS], cpl, 0)?;
    core.mark_accessed(&code)?;
    core.mark_accessed(&stack)?;
    core.cpu.seg[segment::CS] = code.segment(selector);
    core.cpu.seg[segment::SS] = stack.segment(incoming.selectors[segment::SS]);
    core.cpu.update_mode();
    for index in [segment::ES, segment::DS, segment::FS, segment::GS] {
        let loaded = core.check_data_segment(incoming.selectors[index], Fault::ts)?;
        core.cpu.seg[index] = loaded;
    }
    core.cpu.update_mode();
    core.check_entry(&code.segment(selector), incoming.rip, 0)?;
    core.cpu.set_rip(incoming.rip);
    Ok(())
}

/// Pushes the error code of the event that made the switch, in the new task's width.
fn push_error(core: &mut Core, error: Option<u32>, wide: bool) -> Exec {
    let Some(error) = error else { return Ok(()) };
    let mut frame = Frame::new(if wide { 4 } else { 2 });
    frame.push(u64::from(error));
    let stack = Stack::current(core, 0);
    stack.probe(core, &frame)?;
    let pointer = stack.write(core, &frame)?;
    core.set_stack_pointer(pointer);
    Ok(())
}
