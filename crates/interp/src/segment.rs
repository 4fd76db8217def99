//! Segment registers and what inspects descriptors (SDM 3A, 3.4.3, 5.4 to 5.7; 2A and 2B for each instruction):
//! MOV, PUSH and POP of segment registers, LDS LES LFS LGS LSS, LLDT LTR SLDT STR, LAR LSL VERR VERW, ARPL.

use cpu::control::cr4;
use cpu::segment::{self, Access, Segment};
use cpu::{Fault, Mode};
use decode::Selected;
use decode::op::prefix;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{Core, Exec, SingleStep};
use crate::operand::{Gpr, by_size, source, write_destination};
use crate::tables::{Found, is_canonical, is_null, kind, null_stack_segment, rpl, selector_error};
use crate::{Handler, Op, ends, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let register = |index| instruction.op_kind(index) == OpKind::Register && instruction.op_register(index).is_segment_register();
    let size = instruction.op0_register().size();
    Some(match instruction.mnemonic() {
        Mnemonic::Mov if register(0) => match instruction.op0_register() {
            Register::CS => return None,
            Register::SS => ends(mov_to_segment),
            _ => plain(mov_to_segment),
        },
        Mnemonic::Mov if instruction.op_count() > 1 && register(1) => plain(match instruction.op0_kind() {
            OpKind::Register => by_size!(size, mov_from_segment),
            _ => mov_from_segment::<u16>,
        }),
        Mnemonic::Push if register(0) => plain(by_size!(instruction.stack_pointer_increment().unsigned_abs() as usize, push_segment)),
        Mnemonic::Pop if register(0) => {
            let handler = by_size!(instruction.stack_pointer_increment().unsigned_abs() as usize, pop_segment);
            if instruction.op0_register() == Register::SS { ends(handler) } else { plain(handler) }
        }
        Mnemonic::Lds => plain(by_size!(size, load_far_pointer, Ds)),
        Mnemonic::Les => plain(by_size!(size, load_far_pointer, Es)),
        Mnemonic::Lfs => plain(by_size!(size, load_far_pointer, Fs)),
        Mnemonic::Lgs => plain(by_size!(size, load_far_pointer, Gs)),
        Mnemonic::Lss => ends(by_size!(size, load_far_pointer, Ss)),
        Mnemonic::Lldt => ends(lldt),
        Mnemonic::Ltr => ends(ltr),
        Mnemonic::Sldt => plain(store_selector_form(instruction, by_size!(size, sldt), sldt::<u16>)),
        Mnemonic::Str => plain(store_selector_form(instruction, by_size!(size, str), str::<u16>)),
        Mnemonic::Lar => plain(by_size!(size, lar)),
        Mnemonic::Lsl => plain(by_size!(size, lsl)),
        Mnemonic::Verr => plain(verr),
        Mnemonic::Verw => plain(verw),
        Mnemonic::Arpl => plain(arpl),
        _ => return None,
    })
}

/// Selectors are stored to memory as 16 bits whatever the operand size.
fn store_selector_form(
    instruction: &Instruction,
    to_register: fn(&mut Core, &Op) -> Exec,
    to_memory: fn(&mut Core, &Op) -> Exec,
) -> fn(&mut Core, &Op) -> Exec {
    if instruction.op0_kind() == OpKind::Register { to_register } else { to_memory }
}

impl Core {
    /// Loads segment register `index` (not CS) with every check of the mode.
    pub(crate) fn load_segment(&mut self, index: usize, selector: u16) -> Exec {
        if self.cpu.real_or_v86() {
            self.cpu.load_real_segment(index, selector);
        } else if index == segment::SS {
            self.cpu.seg[index] = self.check_stack_selector(selector)?;
        } else {
            self.cpu.seg[index] = self.check_data_segment(selector, Fault::gp)?;
        }
        self.cpu.update_mode();
        Ok(())
    }

    /// What SS becomes with `selector` at the present privilege level. Only 64-bit code above level 3 may have none.
    fn check_stack_selector(&mut self, selector: u16) -> Exec<Segment> {
        let cpl = self.cpu.cpl;
        if is_null(selector) {
            self.fault_if(!self.in_64_bit_mode() || cpl == 3 || rpl(selector) != cpl, Fault::GP0)?;
            return Ok(null_stack_segment(cpl));
        }
        let found = self.check_stack_segment(selector, cpl, Fault::gp, 0)?;
        self.mark_accessed(&found)?;
        Ok(found.segment(selector))
    }

    /// What ES, DS, FS or GS becomes with `selector` at the present privilege level; bad ones are `fault`.
    pub(crate) fn check_data_segment(&mut self, selector: u16, fault: fn(u32) -> Fault) -> Exec<Segment> {
        if is_null(selector) {
            return Ok(Segment::null(selector));
        }
        let found = self.load_descriptor(selector, fault, 0)?;
        let access = found.access();
        let error = selector_error(selector, 0);
        let privileged = !access.is_conforming() && access.dpl() < rpl(selector).max(self.cpu.cpl);
        self.fault_if(!access.is_code_or_data() || !access.is_readable() || privileged, fault(error))?;
        self.fault_if(!access.is_present(), Fault::np(error))?;
        self.mark_accessed(&found)?;
        Ok(found.segment(selector))
    }

    /// #UD in real and virtual-8086 mode.
    fn require_protected(&mut self) -> Exec {
        self.fault_if(self.cpu.real_or_v86(), Fault::UD)
    }

    /// #GP(0) where UMIP keeps descriptor-table registers from applications.
    pub(crate) fn check_umip(&mut self) -> Exec {
        self.fault_if(self.cpu.cr4 & cr4::UMIP != 0 && self.cpu.cpl != 0 && self.cpu.mode != Mode::Real, Fault::GP0)
    }
}

/// Loading SS holds off interrupts until the next instruction, which loads the stack pointer (SDM 3A, 6.8.3).
fn shadow_stack_load(core: &mut Core, index: usize) {
    if index == segment::SS {
        core.attention.interrupt_shadow = true;
        core.attention.single_step = SingleStep::Never;
        core.leave_block();
    }
}

fn mov_to_segment(core: &mut Core, op: &Op) -> Exec {
    let selector = source::<u16>(core, op, op.src)?;
    let index = op.dst as usize;
    core.load_segment(index, selector)?;
    shadow_stack_load(core, index);
    Ok(())
}

fn mov_from_segment<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let index = if op.has(prefix::MEMORY) { op.dst } else { op.src };
    let selector = core.cpu.seg[index as usize & 7].selector;
    write_destination(core, op, T::of(u64::from(selector)))
}

fn push_segment<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let selector = core.cpu.seg[op.dst as usize & 7].selector;
    core.push(T::of(u64::from(selector)))
}

/// The stack pointer moves with the old SS's width, before SS changes.
fn pop_segment<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let selector = core.peek::<T>(0)?.u64() as u16;
    let old_pointer = core.cpu.regs[4];
    let index = op.dst as usize;
    core.drop_stack(T::SIZE as u64);
    core.load_segment(index, selector).inspect_err(|_| core.cpu.regs[4] = old_pointer)?;
    shadow_stack_load(core, index);
    Ok(())
}

/// Which segment register a far-pointer load fills.
trait Filled {
    const INDEX: usize;
}
macro_rules! filled {
    ($($name:ident = $index:expr),*) => {$(
        struct $name;
        impl Filled for $name {
            const INDEX: usize = $index;
        }
    )*};
}
filled!(Ds = segment::DS, Es = segment::ES, Fs = segment::FS, Gs = segment::GS, Ss = segment::SS);

fn load_far_pointer<T: Gpr, S: Filled>(core: &mut Core, op: &Op) -> Exec {
    let at = core.effective_address(op);
    let offset = core.read::<T>(op.seg, at)?;
    let selector = core.read::<u16>(op.seg, at.wrapping_add(T::SIZE as u64) & op.address_mask())?;
    core.load_segment(S::INDEX, selector)?;
    T::set(&mut core.cpu, op.dst, offset);
    Ok(())
}

/// Checks the operand of LLDT and LTR: a present system descriptor of the GDT whose type is among `kinds`. Returns the
/// hidden part, with the 64-bit base of IA-32e mode, and where the descriptor lies.
fn system_segment(core: &mut Core, selector: u16, kinds: &[u8]) -> Exec<(Segment, Found)> {
    let error = selector_error(selector, 0);
    core.fault_if(selector & 4 != 0, Fault::gp(error))?;
    let found = core.load_descriptor(selector, Fault::gp, 0)?;
    let access = found.access();
    core.fault_if(access.is_code_or_data() || !kinds.contains(&access.kind()), Fault::gp(error))?;
    let mut segment = found.descriptor.segment(selector);
    if core.cpu.long_mode() {
        segment.base |= core.load_upper_descriptor(&found, selector)? << 32;
        core.fault_if(!is_canonical(segment.base), Fault::gp(error))?;
    }
    core.fault_if(!access.is_present(), Fault::np(error))?;
    Ok((segment, found))
}

fn lldt(core: &mut Core, op: &Op) -> Exec {
    core.require_protected()?;
    core.require_cpl0()?;
    let selector = source::<u16>(core, op, op.dst)?;
    core.cpu.ldtr = if is_null(selector) { Segment::null(selector) } else { system_segment(core, selector, &[kind::LDT])?.0 };
    Ok(())
}

fn ltr(core: &mut Core, op: &Op) -> Exec {
    core.require_protected()?;
    core.require_cpl0()?;
    let selector = source::<u16>(core, op, op.dst)?;
    core.fault_if(is_null(selector), Fault::GP0)?;
    let kinds: &[u8] = if core.cpu.long_mode() { &[kind::TSS32] } else { &[kind::TSS16, kind::TSS32] };
    let (segment, found) = system_segment(core, selector, kinds)?;
    let busy = Access(segment.access.0 | 2);
    core.write_system(found.linear.wrapping_add(5), busy.0 as u8)?;
    core.cpu.tr = Segment { access: busy, ..segment };
    Ok(())
}

fn sldt<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.require_protected()?;
    core.check_umip()?;
    let selector = core.cpu.ldtr.selector;
    write_destination(core, op, T::of(u64::from(selector)))
}

fn str<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.require_protected()?;
    core.check_umip()?;
    let selector = core.cpu.tr.selector;
    write_destination(core, op, T::of(u64::from(selector)))
}

/// The descriptor that LAR, LSL, VERR or VERW may look at: within its table, and visible from this privilege level.
fn visible_descriptor(core: &mut Core, selector: u16) -> Exec<Option<Found>> {
    if is_null(selector) {
        return Ok(None);
    }
    let level = core.cpu.cpl.max(rpl(selector));
    let found = core.find_descriptor(selector)?;
    Ok(found.filter(|found| found.access().is_conforming() || found.access().dpl() >= level))
}

/// LAR and LSL know code and data, and of the system types the ones in the mode's mask (one bit a type).
fn is_described(core: &Core, access: Access, legacy: u16, long: u16) -> bool {
    let types = if core.cpu.long_mode() { long } else { legacy };
    access.is_code_or_data() || types >> access.kind() & 1 != 0
}

fn lar<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    // TSS, LDT, call and task gates; in IA-32e mode no 16-bit ones.
    const LEGACY: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
    const LONG: u16 = 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12;
    core.require_protected()?;
    let selector = source::<u16>(core, op, op.src)?;
    let found = visible_descriptor(core, selector)?.filter(|found| is_described(core, found.access(), LEGACY, LONG));
    core.cpu.flags.set_zf(found.is_some());
    if let Some(found) = found {
        T::set(&mut core.cpu, op.dst, T::of(found.descriptor.0 >> 32 & 0x00f0_ff00));
    }
    Ok(())
}

fn lsl<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    // TSS and LDT.
    const LEGACY: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    const LONG: u16 = 1 << 2 | 1 << 9 | 1 << 11;
    core.require_protected()?;
    let selector = source::<u16>(core, op, op.src)?;
    let found = visible_descriptor(core, selector)?.filter(|found| is_described(core, found.access(), LEGACY, LONG));
    core.cpu.flags.set_zf(found.is_some());
    if let Some(found) = found {
        T::set(&mut core.cpu, op.dst, T::of(u64::from(found.descriptor.limit())));
    }
    Ok(())
}

fn verr(core: &mut Core, op: &Op) -> Exec {
    verify(core, op, Access::is_readable)
}

fn verw(core: &mut Core, op: &Op) -> Exec {
    verify(core, op, Access::is_writable)
}

fn verify(core: &mut Core, op: &Op, allows: fn(Access) -> bool) -> Exec {
    core.require_protected()?;
    let selector = source::<u16>(core, op, op.dst)?;
    let found = visible_descriptor(core, selector)?;
    core.cpu.flags.set_zf(found.is_some_and(|found| found.access().is_code_or_data() && allows(found.access())));
    Ok(())
}

fn arpl(core: &mut Core, op: &Op) -> Exec {
    core.require_protected()?;
    let by = core.cpu.regs[if op.has(prefix::MEMORY) { op.dst } else { op.src } as usize & 31] as u16 & 3;
    let adjust = move |core: &mut Core, selector: u16| {
        let raised = selector & 3 < by;
        core.cpu.flags.set_zf(raised);
        if raised { selector & !3 | by } else { selector }
    };
    if op.has(prefix::MEMORY) {
        // Memory is written only if it changes: a selector in a read-only page may be looked at.
        let selector = core.read_operand::<u16>(op)?;
        if selector & 3 < by {
            return core.update_operand::<u16>(op, adjust);
        }
        core.cpu.flags.set_zf(false);
        return Ok(());
    }
    let selector = u16::get(&core.cpu, op.dst);
    let adjusted = adjust(core, selector);
    u16::set(&mut core.cpu, op.dst, adjusted);
    Ok(())
}
