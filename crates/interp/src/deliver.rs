//! Delivery of exceptions, interrupts and software interrupts (SDM 3A, chapter 6; 20.1.4 for real mode, 20.2 for
//! virtual-8086 mode): through the interrupt vector table or the IDT, onto the present or an inner stack.
//!
//! A delivery checks everything before it changes anything, so that the next level (the fault of a delivery, the double
//! fault, shutdown) starts from the same state. Instruction breakpoints are not modelled, so RF is set only in
//! pushed flags and never in RFLAGS itself.

use cpu::fault::vector;
use cpu::flags::bit;
use cpu::segment::{self, Descriptor, Segment};
use cpu::{Fault, Mode};

use crate::core::{Core, Exec, SingleStep, Stop};
use crate::frame::{Frame, Stack};
use crate::tables::{EXT, Found, is_canonical, kind, null_stack_segment, selector_error};
use crate::task;

/// DR6.BS: a single step trapped.
const DR6_BS: u64 = 1 << 14;

/// The instruction behind a software interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoftwareKind {
    /// INT n, INT3 and INTO: the gate's DPL is checked.
    Checked,
    /// INT1: as if by the processor's own debug logic.
    Icebp,
}

/// What is delivered.
#[derive(Clone, Copy)]
struct Event {
    vector: u8,
    error: Option<u32>,
    /// The gate's DPL must not be below the CPL.
    checked: bool,
    /// EXT bit for the error codes of a failing delivery.
    ext: u32,
    /// Pushed flags have RF set: the instruction restarts.
    restarts: bool,
}

impl Event {
    /// #DB is always a trap here and #DF an abort; every other exception restarts its instruction.
    fn exception(fault: Fault) -> Self {
        let restarts = !matches!(fault.vector, vector::DB | vector::BP | vector::OF | vector::DF);
        Self { vector: fault.vector, error: fault.error, checked: false, ext: EXT, restarts }
    }

    fn external(vector: u8) -> Self {
        Self { vector, error: None, checked: false, ext: EXT, restarts: false }
    }
}

/// Delivers an exception. RIP must be what the handler is to return to: for faults the faulting instruction.
///
/// # Errors
/// [`Stop::Shutdown`] when no handler, not even the double fault's, can be reached. [`Stop::Exit`] when a table or
/// stack that the delivery needs lies in device space: no device can answer in the middle of a delivery, so nothing
/// stands in [`crate::device::DeviceAccess::wanted`]. On `Ok` the handler's first instruction is next.
pub fn deliver_fault(core: &mut Core, fault: Fault) -> Exec {
    core.device.finish();
    let mut current = fault;
    loop {
        if current.vector == vector::PF {
            core.cpu.cr2 = current.address;
        }
        match deliver(core, Event::exception(current)) {
            Ok(()) => {
                core.exceptions_delivered += 1;
                return Ok(());
            }
            Err(Stop::Fault) => {
                let second = core.fault;
                current = escalate(current, second).ok_or(Stop::Shutdown)?;
                if second.vector == vector::PF {
                    // Even where a double fault is delivered instead.
                    core.cpu.cr2 = second.address;
                }
            }
            Err(stop) => return Err(abandon(core, stop)),
        }
    }
}

/// Delivers an external interrupt at an instruction boundary. Whether one may be taken is the caller's concern.
///
/// # Errors
/// As [`deliver_fault`].
pub fn deliver_interrupt(core: &mut Core, vector: u8) -> Exec {
    core.attention.halted = false;
    core.attention.interrupt_shadow = false;
    core.interrupts_delivered += 1;
    match deliver(core, Event::external(vector)) {
        Err(Stop::Fault) => deliver_fault(core, core.fault),
        Err(stop) => Err(abandon(core, stop)),
        Ok(()) => Ok(()),
    }
}

/// Delivers an NMI and blocks further ones until the next IRET.
///
/// # Errors
/// As [`deliver_fault`].
pub fn deliver_nmi(core: &mut Core) -> Exec {
    core.attention.nmi_pending = false;
    core.attention.nmi_blocked = true;
    deliver_interrupt(core, vector::NMI)
}

/// Delivers the debug trap of a single step (RFLAGS.TF); RIP is the next instruction's.
///
/// # Errors
/// As [`deliver_fault`].
pub fn deliver_single_step(core: &mut Core) -> Exec {
    core.cpu.dr[6] |= DR6_BS;
    deliver_fault(core, Fault::DB)
}

/// Executes a software interrupt; RIP is the next instruction's. A failure is a fault of the instruction.
pub(crate) fn software_interrupt(core: &mut Core, vector: u8, kind: SoftwareKind) -> Exec {
    let checked = kind == SoftwareKind::Checked;
    let ext = if checked { 0 } else { EXT };
    deliver(core, Event { vector, error: None, checked, ext, restarts: false })?;
    core.attention.single_step = SingleStep::Never;
    Ok(())
}

/// The exception that follows when `second` comes up while `first` is delivered (SDM 3A, table 6-5); none for shutdown.
fn escalate(first: Fault, second: Fault) -> Option<Fault> {
    if first.vector == vector::DF {
        return None;
    }
    let second_is_page = second.vector == vector::PF;
    let double = if first.vector == vector::PF {
        second_is_page || second.is_contributory()
    } else {
        first.is_contributory() && second.is_contributory()
    };
    Some(if double { Fault::DOUBLE } else { second })
}

/// Forgets what a delivery asked of a device.
fn abandon(core: &mut Core, stop: Stop) -> Stop {
    core.device.wanted = None;
    core.device.finish();
    stop
}

fn deliver(core: &mut Core, event: Event) -> Exec {
    core.leave_block();
    if core.cpu.mode == Mode::Real {
        deliver_real(core, event)
    } else if core.cpu.long_mode() {
        deliver_long(core, event)
    } else {
        deliver_protected(core, event)
    }
}

/// RFLAGS as pushed.
fn pushed_flags(core: &Core, event: Event) -> u64 {
    core.cpu.flags.get() | if event.restarts { bit::RF } else { 0 }
}

fn deliver_real(core: &mut Core, event: Event) -> Exec {
    let at = u64::from(event.vector) * 4;
    core.fault_if(at + 3 > u64::from(core.cpu.idtr.limit), Fault::GP0)?;
    let entry: u32 = core.read_system(core.cpu.idtr.base.wrapping_add(at))?;
    let mut frame = Frame::new(2);
    frame.push(core.cpu.flags.get());
    frame.push(u64::from(core.cpu.seg[segment::CS].selector));
    frame.push(core.cpu.rip());
    let stack = Stack::current(core, 0);
    stack.probe(core, &frame)?;
    let pointer = stack.write(core, &frame)?;
    core.set_stack_pointer(pointer);
    core.cpu.flags.assign(bit::IF | bit::TF | bit::AC | bit::RF, false);
    core.cpu.load_real_segment(segment::CS, (entry >> 16) as u16);
    core.cpu.update_mode();
    core.cpu.set_rip(u64::from(entry & 0xffff));
    Ok(())
}

/// A gate of the IDT.
struct Gate {
    low: u64,
    /// The upper half in IA-32e mode, else 0.
    high: u64,
}

impl Gate {
    fn kind(&self) -> u8 {
        Descriptor(self.low).access().kind()
    }
    fn selector(&self) -> u16 {
        (self.low >> 16) as u16
    }
    fn offset(&self) -> u64 {
        let offset = self.low & 0xffff | self.low >> 32 & 0xffff_0000 | self.high << 32;
        if self.is_wide() { offset } else { offset & 0xffff }
    }
    /// 32-bit (or 64-bit) rather than 16-bit.
    fn is_wide(&self) -> bool {
        self.kind() & 8 != 0
    }
    fn disables_interrupts(&self) -> bool {
        matches!(self.kind(), kind::INTERRUPT16 | kind::INTERRUPT32)
    }
    fn stack_table_index(&self) -> u32 {
        (self.low >> 32) as u32 & 7
    }
}

/// The gate of an event, whose type is among `kinds`.
fn load_gate(core: &mut Core, event: Event, kinds: &[u8]) -> Exec<Gate> {
    let long = core.cpu.long_mode();
    let size = if long { 16 } else { 8 };
    let error = (u32::from(event.vector) * 8 + 2) | event.ext;
    let at = u64::from(event.vector) * size;
    core.fault_if(at + size - 1 > u64::from(core.cpu.idtr.limit), Fault::gp(error))?;
    let linear = core.cpu.idtr.base.wrapping_add(at);
    let low: u64 = core.read_system(linear)?;
    let high = if long { u64::from(core.read_system::<u32>(linear.wrapping_add(8))?) } else { 0 };
    let gate = Gate { low, high };
    let access = Descriptor(low).access();
    core.fault_if(access.is_code_or_data() || !kinds.contains(&access.kind()), Fault::gp(error))?;
    core.fault_if(event.checked && access.dpl() < core.cpu.cpl, Fault::gp(error))?;
    core.fault_if(!access.is_present(), Fault::np(error))?;
    Ok(gate)
}

/// The privilege level that the handler in `code` runs at.
fn handler_cpl(core: &Core, code: &Found) -> u8 {
    let access = code.access();
    if access.is_conforming() { core.cpu.cpl } else { access.dpl() }
}

fn deliver_protected(core: &mut Core, event: Event) -> Exec {
    const KINDS: &[u8] = &[kind::TASK_GATE, kind::INTERRUPT16, kind::TRAP16, kind::INTERRUPT32, kind::TRAP32];
    let gate = load_gate(core, event, KINDS)?;
    if gate.kind() == kind::TASK_GATE {
        return task::deliver_through_task_gate(core, gate.selector(), event.error, event.ext, pushed_flags(core, event));
    }
    let code = core.gate_code(gate.selector(), event.ext)?;
    let cpl = handler_cpl(core, &code);
    let from_v86 = core.cpu.mode == Mode::Virtual8086;
    // Virtual-8086 code may only be left for level 0.
    core.fault_if(from_v86 && cpl != 0, Fault::gp(selector_error(gate.selector(), event.ext)))?;
    let mut frame = Frame::new(if gate.is_wide() { 4 } else { 2 });
    let inner = if cpl < core.cpu.cpl { Some(inner_stack(core, cpl, event.ext)?) } else { None };
    let stack = match &inner {
        Some((found, selector, pointer)) => {
            if from_v86 {
                for seg in [segment::GS, segment::FS, segment::DS, segment::ES] {
                    frame.push(u64::from(core.cpu.seg[seg].selector));
                }
            }
            frame.push(u64::from(core.cpu.seg[segment::SS].selector));
            frame.push(core.cpu.regs[4]);
            Stack::inner(core, found.segment(*selector), *pointer, selector_error(*selector, event.ext))
        }
        None => Stack::current(core, event.ext),
    };
    push_return(core, &mut frame, event);
    stack.probe(core, &frame)?;
    let segment = code.segment(gate.selector() & !3 | u16::from(cpl));
    core.check_entry(&segment, gate.offset(), event.ext)?;
    core.mark_accessed(&code)?;
    if let Some((found, ..)) = &inner {
        core.mark_accessed(found)?;
    }
    let pointer = stack.write(core, &frame)?;
    if inner.is_some() {
        core.cpu.seg[segment::SS] = stack.segment;
    }
    if from_v86 {
        for seg in [segment::GS, segment::FS, segment::DS, segment::ES] {
            core.cpu.seg[seg] = Segment::null(0);
        }
    }
    enter_handler(core, &gate, segment);
    core.set_stack_pointer(pointer);
    Ok(())
}

/// SS:ESP for level `cpl` out of the TSS.
fn inner_stack(core: &mut Core, cpl: u8, ext: u32) -> Exec<(Found, u16, u64)> {
    let (selector, pointer) = core.tss_stack(cpl, ext)?;
    let found = core.inner_stack_segment(selector, cpl, ext)?;
    Ok((found, selector, pointer))
}

fn deliver_long(core: &mut Core, event: Event) -> Exec {
    let gate = load_gate(core, event, &[kind::INTERRUPT32, kind::TRAP32])?;
    let code = core.gate_code(gate.selector(), event.ext)?;
    let cpl = handler_cpl(core, &code);
    let inner = cpl < core.cpu.cpl;
    let top = match gate.stack_table_index() {
        0 if inner => core.tss_stack_64(u32::from(cpl), event.ext)?,
        0 => core.cpu.regs[4],
        index => core.tss_stack_64(3 + index, event.ext)?,
    };
    let stack = Stack::long(core, top & !0xf, cpl, event.ext);
    let mut frame = Frame::new(8);
    frame.push(u64::from(core.cpu.seg[segment::SS].selector));
    frame.push(core.cpu.regs[4]);
    push_return(core, &mut frame, event);
    stack.probe(core, &frame)?;
    core.fault_if(!is_canonical(gate.offset()), Fault::gp(event.ext))?;
    core.mark_accessed(&code)?;
    let pointer = stack.write(core, &frame)?;
    if inner {
        core.cpu.seg[segment::SS] = null_stack_segment(cpl);
    }
    enter_handler(core, &gate, code.segment(gate.selector() & !3 | u16::from(cpl)));
    core.cpu.regs[4] = pointer;
    Ok(())
}

fn push_return(core: &Core, frame: &mut Frame, event: Event) {
    frame.push(pushed_flags(core, event));
    frame.push(u64::from(core.cpu.seg[segment::CS].selector));
    frame.push(core.cpu.rip());
    if let Some(error) = event.error {
        frame.push(u64::from(error));
    }
}

fn enter_handler(core: &mut Core, gate: &Gate, code: Segment) {
    core.cpu.flags.assign(bit::TF | bit::NT | bit::RF | bit::VM, false);
    if gate.disables_interrupts() {
        core.cpu.flags.assign(bit::IF, false);
    }
    core.enter_code(code, gate.offset());
}
