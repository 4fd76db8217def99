//! Descriptors in the GDT and LDT, and the stacks that a TSS names (SDM 3A, 3.5, 5.8, 7.2): fetching them, the checks
//! that several instructions share, and the accessed bit.
//!
//! What a descriptor is loaded into belongs to `segment`, `far` and `deliver`; the IDT to `deliver`.

pub(crate) use cpu::paging::is_canonical;
use cpu::segment::{self, Access, Descriptor, Segment};
use cpu::{Fault, Mode};

use crate::core::{Core, Exec};

/// The EXT bit of error codes: the fault came about while an event not of the program's own making was delivered.
pub(crate) const EXT: u32 = 1;

/// System descriptor types (SDM 3A, table 3-2).
pub(crate) mod kind {
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INTERRUPT16: u8 = 6;
    pub const TRAP16: u8 = 7;
    pub const TSS32: u8 = 9;
    pub const TSS32_BUSY: u8 = 11;
    pub const CALL32: u8 = 12;
    pub const INTERRUPT32: u8 = 14;
    pub const TRAP32: u8 = 15;
}

/// A descriptor and the linear address that it lies at.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub descriptor: Descriptor,
    pub linear: u64,
}

impl Found {
    pub fn access(&self) -> Access {
        self.descriptor.access()
    }

    /// The hidden part that loading this code or data descriptor leaves behind: accessed.
    pub fn segment(&self, selector: u16) -> Segment {
        let segment = self.descriptor.segment(selector);
        Segment { access: Access(segment.access.0 | 1), ..segment }
    }
}

/// True for the null selectors, 0 to 3.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & 0xfffc == 0
}

/// The requested privilege level of a selector.
pub(crate) fn rpl(selector: u16) -> u8 {
    (selector & 3) as u8
}

/// An error code that names a selector (SDM 3A, 6.13).
pub(crate) fn selector_error(selector: u16, ext: u32) -> u32 {
    u32::from(selector & 0xfffc) | ext
}

/// The SS that IA-32e mode leaves after a change of privilege: null, but still the holder of the CPL.
pub(crate) fn null_stack_segment(cpl: u8) -> Segment {
    let access = Access(Access::UNUSABLE.0 | u32::from(cpl) << 5);
    Segment { access, ..Segment::null(u16::from(cpl)) }
}

impl Core {
    /// Looks a selector up in the GDT or LDT; none when it is past the table's end.
    pub(crate) fn find_descriptor(&mut self, selector: u16) -> Exec<Option<Found>> {
        let index = u64::from(selector & 0xfff8);
        let (base, limit) = if selector & 4 == 0 {
            (self.cpu.gdtr.base, u64::from(self.cpu.gdtr.limit))
        } else if self.cpu.ldtr.access.is_unusable() {
            return Ok(None);
        } else {
            (self.cpu.ldtr.base, u64::from(self.cpu.ldtr.limit))
        };
        if index + 7 > limit {
            return Ok(None);
        }
        let linear = base.wrapping_add(index);
        let descriptor = Descriptor(self.read_system(linear)?);
        Ok(Some(Found { descriptor, linear }))
    }

    /// The descriptor of a selector, or `fault` with the selector as its error code.
    pub(crate) fn load_descriptor(&mut self, selector: u16, fault: fn(u32) -> Fault, ext: u32) -> Exec<Found> {
        match self.find_descriptor(selector)? {
            Some(found) => Ok(found),
            None => Err(self.raise(fault(selector_error(selector, ext)))),
        }
    }

    /// The upper half of a 16-byte system descriptor of IA-32e mode. Its type field must be 0 (SDM 3A, 5.8.3.1).
    pub(crate) fn load_upper_descriptor(&mut self, found: &Found, selector: u16) -> Exec<u64> {
        let error = selector_error(selector, 0);
        let limit = u64::from(if selector & 4 == 0 { u32::from(self.cpu.gdtr.limit) } else { self.cpu.ldtr.limit });
        self.fault_if(u64::from(selector & 0xfff8) + 15 > limit, Fault::gp(error))?;
        let upper: u64 = self.read_system(found.linear.wrapping_add(8))?;
        self.fault_if(upper >> 40 & 0x1f != 0, Fault::gp(error))?;
        Ok(upper)
    }

    /// Sets the accessed bit of a code or data descriptor in its table.
    pub(crate) fn mark_accessed(&mut self, found: &Found) -> Exec {
        let access = found.access().0 as u8;
        if access & 1 != 0 {
            return Ok(());
        }
        self.write_system(found.linear.wrapping_add(5), access | 1)
    }

    /// Checks where execution would begin: within the limit, or canonical in 64-bit code.
    pub(crate) fn check_entry(&mut self, code: &Segment, rip: u64, ext: u32) -> Exec {
        let inside = if self.cpu.long_mode() && code.access.long() { is_canonical(rip) } else { rip <= u64::from(code.limit) };
        self.fault_if(!inside, Fault::gp(ext))
    }

    /// The code segment that a call, interrupt or trap gate names. It is at the present privilege or, if it is
    /// nonconforming and its DPL is lower, more privileged.
    pub(crate) fn gate_code(&mut self, selector: u16, ext: u32) -> Exec<Found> {
        self.fault_if(is_null(selector), Fault::gp(ext))?;
        let found = self.load_descriptor(selector, Fault::gp, ext)?;
        let access = found.access();
        let error = selector_error(selector, ext);
        let wrong_size = self.cpu.long_mode() && (!access.long() || access.big());
        self.fault_if(!access.is_code() || access.dpl() > self.cpu.cpl || wrong_size, Fault::gp(error))?;
        self.fault_if(!access.is_present(), Fault::np(error))?;
        Ok(found)
    }

    /// The stack segment and pointer that the TSS holds for privilege level `cpl` (outside IA-32e mode).
    pub(crate) fn tss_stack(&mut self, cpl: u8, ext: u32) -> Exec<(u16, u64)> {
        let wide = self.cpu.tr.access.kind() & 8 != 0;
        let (offset, bytes) = if wide { (4 + 8 * u32::from(cpl), 6) } else { (2 + 4 * u32::from(cpl), 4) };
        let missing = self.cpu.tr.access.is_unusable() || offset + bytes - 1 > self.cpu.tr.limit;
        self.fault_if(missing, Fault::ts(selector_error(self.cpu.tr.selector, ext)))?;
        let at = self.cpu.tr.base.wrapping_add(u64::from(offset));
        if wide {
            let pointer = u64::from(self.read_system::<u32>(at)?);
            Ok((self.read_system(at.wrapping_add(4))?, pointer))
        } else {
            let pointer = u64::from(self.read_system::<u16>(at)?);
            Ok((self.read_system(at.wrapping_add(2))?, pointer))
        }
    }

    /// A stack pointer of the 64-bit TSS: RSP0 to RSP2 are slots 0 to 2, IST1 to IST7 are slots 4 to 10.
    pub(crate) fn tss_stack_64(&mut self, slot: u32, ext: u32) -> Exec<u64> {
        let offset = 4 + 8 * slot;
        let missing = self.cpu.tr.access.is_unusable() || offset + 7 > self.cpu.tr.limit;
        self.fault_if(missing, Fault::ts(selector_error(self.cpu.tr.selector, ext)))?;
        let pointer = self.read_system(self.cpu.tr.base.wrapping_add(u64::from(offset)))?;
        self.fault_if(!is_canonical(pointer), Fault::ss(ext))?;
        Ok(pointer)
    }

    /// The stack segment for a transfer to privilege level `cpl`: as [`Core::check_stack_segment`], but its faults are
    /// #TS since the selector came out of the TSS.
    pub(crate) fn inner_stack_segment(&mut self, selector: u16, cpl: u8, ext: u32) -> Exec<Found> {
        self.fault_if(is_null(selector), Fault::ts(ext))?;
        self.check_stack_segment(selector, cpl, Fault::ts, ext)
    }

    /// The descriptor of a stack segment for privilege level `cpl`: RPL and DPL equal to it, writable data, present.
    pub(crate) fn check_stack_segment(&mut self, selector: u16, cpl: u8, fault: fn(u32) -> Fault, ext: u32) -> Exec<Found> {
        let found = self.load_descriptor(selector, fault, ext)?;
        let access = found.access();
        let error = selector_error(selector, ext);
        self.fault_if(rpl(selector) != cpl || access.dpl() != cpl || !access.is_writable(), fault(error))?;
        self.fault_if(!access.is_present(), Fault::ss(error))?;
        Ok(found)
    }

    /// Makes `code` the code segment at the present privilege level and jumps to `rip` in it.
    pub(crate) fn enter_code(&mut self, code: Segment, rip: u64) {
        self.cpu.seg[segment::CS] = code;
        self.cpu.update_mode();
        self.cpu.set_rip(rip);
    }

    /// True in 64-bit mode.
    pub(crate) fn in_64_bit_mode(&self) -> bool {
        self.cpu.mode == Mode::Long64
    }

    /// #GP(0) unless the CPL is 0.
    pub(crate) fn require_cpl0(&mut self) -> Exec {
        self.fault_if(self.cpu.cpl != 0, Fault::GP0)
    }
}
