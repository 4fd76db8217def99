//! Guest memory as instructions see it: segmentation (SDM 3A, 5.3), canonical addresses, paging, devices.

use cpu::tlb::{AccessKind, Target, View};
use cpu::{Fault, Mode, Word, paging, segment};
use guest_mem::Kind;

use crate::Op;
use crate::core::{Core, Exec, Stop};
use crate::operand::Gpr;

const PAGE: u64 = 4096;

/// Address bits that alignment checking wants zero (SDM 3A, table 6-7). Operands of 16 bytes have rules of their own: legacy SSE
/// raises #GP, and the unaligned moves are not checked.
#[inline(always)]
const fn required_alignment(size: usize) -> u64 {
    if size.is_power_of_two() && size <= 8 { size as u64 - 1 } else { 0 }
}

impl Core {
    /// The effective address of an op's memory operand.
    #[inline(always)]
    pub fn effective_address(&self, op: &Op) -> u64 {
        let regs = &self.cpu.regs;
        let base = regs[op.base as usize & 31];
        let index = regs[op.index as usize & 31];
        base.wrapping_add(index << (op.scale & 3)).wrapping_add(op.disp as i64 as u64) & op.address_mask()
    }

    /// The segment of stack accesses.
    #[inline(always)]
    pub fn stack_segment(&self) -> u8 {
        if self.cpu.mode == Mode::Long64 { segment::FLAT_STACK as u8 } else { segment::SS as u8 }
    }

    /// Reads the memory operand of `op`.
    #[inline(always)]
    pub fn read_operand<T: Word>(&mut self, op: &Op) -> Exec<T> {
        self.read(op.seg, self.effective_address(op))
    }

    /// Writes the memory operand of `op`.
    #[inline(always)]
    pub fn write_operand<T: Word>(&mut self, op: &Op, value: T) -> Exec {
        self.write(op.seg, self.effective_address(op), value)
    }

    /// Reads at segment `seg` (index into `Cpu::seg`), offset `offset`.
    #[inline(always)]
    pub fn read<T: Word>(&mut self, seg: u8, offset: u64) -> Exec<T> {
        let linear = self.linear(seg, offset, T::SIZE, AccessKind::Read)?;
        self.load(linear, self.cpu.view, seg)
    }

    /// Writes at segment `seg`, offset `offset`.
    #[inline(always)]
    pub fn write<T: Word>(&mut self, seg: u8, offset: u64, value: T) -> Exec {
        let linear = self.linear(seg, offset, T::SIZE, AccessKind::Write)?;
        self.store(linear, self.cpu.view, seg, value)
    }

    /// Read-modify-write at segment `seg`, offset `offset`: the page is probed for writing first. `change` gets the old value
    /// and returns the new one; flags that it sets are undone if the write must wait for a device.
    #[inline(always)]
    pub fn update<T: Word>(&mut self, seg: u8, offset: u64, change: impl FnOnce(&mut Core, T) -> T) -> Exec {
        let linear = self.linear(seg, offset, T::SIZE, AccessKind::Write)?;
        let view = self.cpu.view;
        if linear % PAGE <= PAGE - T::SIZE as u64
            && let Some(page) = self.cpu.tlb.lookup(AccessKind::Write, view, linear).and_then(Target::ram_offset)
        {
            let at = page + (linear % PAGE) as usize;
            let old = self.mem.load(at);
            let new = change(self, old);
            self.mem.store(at, new);
            self.note_store();
            return Ok(());
        }
        self.probe_write(linear, T::SIZE, view, seg)?;
        let old = self.load(linear, view, seg)?;
        let flags = self.cpu.flags;
        let new = change(self, old);
        self.store(linear, view, seg, new).inspect_err(|_| self.cpu.flags = flags)
    }

    /// [`Core::update`] on the memory operand of `op`.
    #[inline(always)]
    pub fn update_operand<T: Word>(&mut self, op: &Op, change: impl FnOnce(&mut Core, T) -> T) -> Exec {
        self.update(op.seg, self.effective_address(op), change)
    }

    /// Checks that all of a write would succeed, without writing.
    pub fn probe(&mut self, seg: u8, offset: u64, size: usize) -> Exec {
        let linear = self.linear(seg, offset, size, AccessKind::Write)?;
        self.probe_write(linear, size, self.cpu.view, seg)
    }

    /// The linear address of an access, after segment and alignment checks.
    #[inline(always)]
    pub fn linear(&mut self, seg: u8, offset: u64, size: usize, kind: AccessKind) -> Exec<u64> {
        let segment = &self.cpu.seg[seg as usize & 7];
        if !segment.unchecked {
            self.check_segment(seg, offset, size, kind)?;
        }
        let linear = self.cpu.seg[seg as usize & 7].base.wrapping_add(offset) & self.cpu.linear_mask;
        if linear & self.cpu.alignment & required_alignment(size) != 0 {
            return Err(self.misaligned(linear, seg));
        }
        Ok(linear)
    }

    /// The fault of a misaligned access: one that is not canonical is no address at all.
    #[cold]
    fn misaligned(&mut self, linear: u64, seg: u8) -> Stop {
        let fault = match self.cpu.is_canonical(linear) {
            true => Fault::AC0,
            false if seg as usize == segment::FLAT_STACK => Fault::SS0,
            false => Fault::GP0,
        };
        self.raise(fault)
    }

    /// Type and limit checks of SDM 3A, 5.3 to 5.5. Outside 64-bit mode offsets have at most 32 bits.
    #[inline(never)]
    fn check_segment(&mut self, seg: u8, offset: u64, size: usize, kind: AccessKind) -> Exec {
        let segment = &self.cpu.seg[seg as usize & 7];
        let access = segment.access;
        let fault = if seg as usize == segment::SS { Fault::SS0 } else { Fault::GP0 };
        if !self.cpu.real_or_v86() {
            let allowed = match kind {
                AccessKind::Read => access.is_readable(),
                AccessKind::Write => access.is_writable(),
                AccessKind::Fetch => access.is_code(),
            };
            if access.is_unusable() || !allowed {
                return Err(self.raise(fault));
            }
        }
        let last = offset + (size as u64 - 1);
        let limit = u64::from(segment.limit);
        let inside = if access.is_expand_down() && !self.cpu.real_or_v86() {
            let top = if access.big() { 0xffff_ffff } else { 0xffff };
            offset > limit && last <= top
        } else {
            last <= limit
        };
        if inside { Ok(()) } else { Err(self.raise(fault)) }
    }

    /// Loads from a linear address with the permissions of `view`; `seg` only decides between #GP and #SS.
    #[inline(always)]
    pub fn load<T: Word>(&mut self, linear: u64, view: View, seg: u8) -> Exec<T> {
        if linear % PAGE <= PAGE - T::SIZE as u64
            && let Some(page) = self.cpu.tlb.lookup(AccessKind::Read, view, linear).and_then(Target::ram_offset)
        {
            return Ok(self.mem.load(page + (linear % PAGE) as usize));
        }
        self.load_slow(linear, view, seg)
    }

    /// Stores to a linear address with the permissions of `view`.
    #[inline(always)]
    pub fn store<T: Word>(&mut self, linear: u64, view: View, seg: u8, value: T) -> Exec {
        if linear % PAGE <= PAGE - T::SIZE as u64
            && let Some(page) = self.cpu.tlb.lookup(AccessKind::Write, view, linear).and_then(Target::ram_offset)
        {
            self.mem.store(page + (linear % PAGE) as usize, value);
            self.note_store();
            return Ok(());
        }
        self.store_slow(linear, view, seg, value)
    }

    /// After a store: if it touched decoded code, the running block is left.
    #[inline(always)]
    fn note_store(&mut self) {
        if self.mem.code_written() {
            self.leave_block();
        }
    }

    #[inline(never)]
    fn load_slow<T: Word>(&mut self, linear: u64, view: View, seg: u8) -> Exec<T> {
        let within = linear % PAGE;
        if within + T::SIZE as u64 <= PAGE {
            let target = self.translate(linear, AccessKind::Read, view, seg)?;
            return self.load_target(target, linear);
        }
        let first_part = (PAGE - within) as usize;
        let next = self.next_page(linear);
        let first = self.translate(linear, AccessKind::Read, view, seg)?;
        let second = self.translate(next, AccessKind::Read, view, seg)?;
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate().take(T::SIZE) {
            let (target, at) =
                if index < first_part { (first, linear + index as u64) } else { (second, next + (index - first_part) as u64) };
            *byte = self.load_target(target, at)?;
        }
        Ok(T::from_le(bytes))
    }

    #[inline(never)]
    fn store_slow<T: Word>(&mut self, linear: u64, view: View, seg: u8, value: T) -> Exec {
        let within = linear % PAGE;
        if within + T::SIZE as u64 <= PAGE {
            let target = self.translate(linear, AccessKind::Write, view, seg)?;
            return self.store_target(target, linear, value);
        }
        let first_part = (PAGE - within) as usize;
        let next = self.next_page(linear);
        let first = self.translate(linear, AccessKind::Write, view, seg)?;
        let second = self.translate(next, AccessKind::Write, view, seg)?;
        // Bytes for a device go first: while one waits for its answer RAM has not changed, so that the instruction can start over.
        for to_device in [true, false] {
            for (index, byte) in value.to_le().into_iter().enumerate().take(T::SIZE) {
                let (target, at) =
                    if index < first_part { (first, linear + index as u64) } else { (second, next + (index - first_part) as u64) };
                if target.device_page().is_some() == to_device {
                    self.store_target(target, at, byte)?;
                }
            }
        }
        Ok(())
    }

    /// The first byte of the page after that of `linear`. Outside 64-bit mode addresses wrap at 4 GiB, but not those of the
    /// tables and stacks above it that an event delivered from compatibility mode uses.
    fn next_page(&self, linear: u64) -> u64 {
        let mask = if linear >> 32 == 0 { self.cpu.linear_mask } else { u64::MAX };
        (linear | (PAGE - 1)).wrapping_add(1) & mask
    }

    fn load_target<T: Word>(&mut self, target: Target, linear: u64) -> Exec<T> {
        match (target.ram_offset(), target.device_page()) {
            (Some(page), _) => Ok(self.mem.load(page + (linear % PAGE) as usize)),
            (None, Some(page)) => self.device_read(page + linear % PAGE),
            (None, None) => Ok(T::default()),
        }
    }

    fn store_target<T: Word>(&mut self, target: Target, linear: u64, value: T) -> Exec {
        match (target.ram_offset(), target.device_page()) {
            (Some(page), _) => {
                self.mem.store(page + (linear % PAGE) as usize, value);
                self.note_store();
                Ok(())
            }
            (None, Some(page)) => self.device_write(page + linear % PAGE, value),
            (None, None) => Ok(()),
        }
    }

    #[inline(never)]
    fn probe_write(&mut self, linear: u64, size: usize, view: View, seg: u8) -> Exec {
        self.translate(linear, AccessKind::Write, view, seg)?;
        let last = linear.wrapping_add(size as u64 - 1) & self.cpu.linear_mask;
        if last / PAGE != linear / PAGE {
            self.translate(last & !(PAGE - 1), AccessKind::Write, view, seg)?;
        }
        Ok(())
    }

    /// Where the page of `linear` is, by the TLB or a walk.
    pub fn translate(&mut self, linear: u64, kind: AccessKind, view: View, seg: u8) -> Exec<Target> {
        if let Some(target) = self.cpu.tlb.lookup(kind, view, linear) {
            return Ok(target);
        }
        if !self.cpu.is_canonical(linear) {
            let fault = if seg as usize == segment::FLAT_STACK { Fault::SS0 } else { Fault::GP0 };
            return Err(self.raise(fault));
        }
        match paging::walk(&self.cpu, &self.mem, linear, kind, view) {
            Ok(found) => {
                let page = self.mem.page(found.phys);
                let lapic = self.lapic.mmio_base() == Some(found.phys & !(PAGE - 1));
                let target = match (page.kind, kind) {
                    _ if lapic => Target::device(found.phys),
                    (Kind::Ram, _) | (Kind::Rom | Kind::ReadDirect, AccessKind::Read | AccessKind::Fetch) => Target::ram(page.ram_offset),
                    (Kind::Rom, AccessKind::Write) => Target::discard(),
                    (Kind::ReadDirect | Kind::Mmio, _) => Target::device(found.phys),
                };
                self.cpu.tlb.insert(kind, view, linear, target, found.page_shift);
                self.note_store();
                Ok(target)
            }
            Err(fault) => Err(self.raise(fault)),
        }
    }

    /// Pushes onto the stack: the store first, then the stack pointer.
    #[inline(always)]
    pub fn push<T: Gpr>(&mut self, value: T) -> Exec {
        let mask = self.cpu.stack_mask;
        let pointer = self.cpu.regs[4].wrapping_sub(T::SIZE as u64) & mask;
        self.write(self.stack_segment(), pointer, value)?;
        self.set_stack_pointer(pointer);
        Ok(())
    }

    /// Reads the top of the stack plus `offset` without popping.
    #[inline(always)]
    pub fn peek<T: Gpr>(&mut self, offset: u64) -> Exec<T> {
        let pointer = self.cpu.regs[4].wrapping_add(offset) & self.cpu.stack_mask;
        self.read(self.stack_segment(), pointer)
    }

    /// Moves the stack pointer up by `bytes`.
    #[inline(always)]
    pub fn drop_stack(&mut self, bytes: u64) {
        let pointer = self.cpu.regs[4].wrapping_add(bytes) & self.cpu.stack_mask;
        self.set_stack_pointer(pointer);
    }

    /// Sets the stack pointer in its width; a 16-bit one leaves the upper bits.
    #[inline(always)]
    pub fn set_stack_pointer(&mut self, pointer: u64) {
        let mask = self.cpu.stack_mask;
        self.cpu.regs[4] = if mask == 0xffff { self.cpu.regs[4] & !0xffff | pointer & mask } else { pointer & mask };
    }

    /// Reads a system structure (descriptor table, TSS) at a linear address: implicit supervisor access.
    pub fn read_system<T: Word>(&mut self, linear: u64) -> Exec<T> {
        let linear = linear & if self.cpu.long_mode() { u64::MAX } else { 0xffff_ffff };
        self.load(linear, self.cpu.system_view(), segment::FLAT as u8)
    }

    /// Writes a system structure at a linear address: implicit supervisor access.
    pub fn write_system<T: Word>(&mut self, linear: u64, value: T) -> Exec {
        let linear = linear & if self.cpu.long_mode() { u64::MAX } else { 0xffff_ffff };
        self.store(linear, self.cpu.system_view(), segment::FLAT as u8, value)
    }
}

impl Core {
    /// Raises `fault` if `condition` holds.
    pub(crate) fn fault_if(&mut self, condition: bool, fault: Fault) -> Exec {
        if condition { Err(self.raise(fault)) } else { Ok(()) }
    }
}
