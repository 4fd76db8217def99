//! The bench in each mode: descriptor tables, handlers, page tables.

use cpu::TableRegister;
use cpu::segment::{self, Segment};
use iced_x86::code_asm::{al, esp, rsp, sp};

use super::*;

impl Bench {
    /// Flat 64-bit code at CPL 0, 4-level paging: the first 2 MiB and the device pages identity-mapped for the supervisor.
    pub fn long() -> Self {
        let mut bench = Self::new(64);
        bench.descriptors();
        // An available 64-bit TSS is busy once loaded.
        bench.write_u64(GDT + u64::from(TSS_SELECTOR), 0x0000_8b00_0000_0067 | TSS << 16);
        bench.write_u64(TSS + 4, INNER_STACK);
        bench.write_u64(TSS + 0x24, IST1_STACK);
        // The I/O map lies outside the TSS: level 3 may use no port.
        bench.write(TSS + 102, &[0x68, 0]);
        for vector in 0..VECTORS {
            bench.stub(vector);
            bench.gate(vector as u8, STUBS + vector * STUB_BYTES, 0);
        }
        let cr3 = bench.new_table();
        bench.flat_state(cr3, cpu::control::cr4::PAE, 0xa09b);
        let cpu = &mut bench.core().cpu;
        cpu.cr0 |= cpu::control::cr0::PG;
        cpu.efer = cpu::control::efer::LME | cpu::control::efer::LMA | cpu::control::efer::NXE;
        for address in (0..RAM_BYTES / 2).step_by(4096) {
            bench.map_page(address, address, page::P | page::W);
        }
        for address in [DEVICE, DEVICE + 0x1000, LAPIC] {
            bench.map_page(address, address, page::P | page::W);
        }
        bench.finish_state()
    }

    /// Flat 32-bit protected mode at CPL 0 without paging.
    pub fn protected() -> Self {
        let mut bench = Self::new(32);
        bench.descriptors();
        bench.write_u64(GDT + u64::from(TSS_SELECTOR), 0x0000_8b00_0000_0067 | TSS << 16);
        bench.write_u64(TSS + 4, INNER_STACK | u64::from(DATA_SELECTOR) << 32);
        for vector in 0..VECTORS {
            bench.stub(vector);
            bench.gate(vector as u8, STUBS + vector * STUB_BYTES, 0);
        }
        bench.flat_state(0, 0, 0xc09b);
        bench.finish_state()
    }

    /// Real mode, every segment at 0, so that offsets are linear addresses below 64 KiB.
    pub fn real() -> Self {
        let mut bench = Self::new(16);
        for vector in 0..VECTORS {
            bench.stub(vector);
            bench.write(vector * 4, &(STUBS + vector * STUB_BYTES).to_le_bytes()[..4]);
        }
        let core = bench.core();
        for index in 0..6 {
            core.cpu.load_real_segment(index, 0);
        }
        core.cpu.seg[segment::CS] = Segment::new(0, 0, 0xffff, 0x9b);
        core.cpu.idtr = TableRegister { base: 0, limit: 0x3ff };
        core.cpu.regs[RSP] = 0x8000;
        core.cpu.update_mode();
        bench
    }

    fn descriptors(&mut self) {
        let code = if self.bits == 64 { 0x00af_9b00_0000_ffff } else { 0x00cf_9b00_0000_ffff };
        let user_code = if self.bits == 64 { 0x00af_fb00_0000_ffff } else { 0x00cf_fb00_0000_ffff };
        let table = [0, code, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, user_code];
        for (index, descriptor) in table.into_iter().enumerate() {
            self.write_u64(GDT + 8 * index as u64, descriptor);
        }
    }

    /// The handler of `vector`: tells the test, drops the error code, returns.
    fn stub(&mut self, vector: u64) {
        let at = STUBS + vector * STUB_BYTES;
        let bytes = assemble(self.bits, at, |a| {
            a.out(TRAP as i32 + vector as i32, al)?;
            match self.bits {
                64 if has_error(vector) => a.add(rsp, 8)?,
                32 if has_error(vector) => a.add(esp, 4)?,
                // Real mode pushes none; a no-op keeps the three alike.
                16 => a.add(sp, 0)?,
                _ => {}
            }
            match self.bits {
                64 => a.iretq(),
                32 => a.iretd(),
                _ => a.iret(),
            }
        });
        assert!(bytes.len() as u64 <= STUB_BYTES);
        self.write(at, &bytes);
    }

    /// An interrupt gate for CPL 0 to `offset`; `ist` only in long mode.
    pub fn gate(&mut self, vector: u8, offset: u64, ist: u64) {
        let low = offset & 0xffff | u64::from(CODE_SELECTOR) << 16 | ist << 32 | 0x8e00 << 32 | (offset >> 16 & 0xffff) << 48;
        if self.bits == 64 {
            self.write_u64(IDT + u64::from(vector) * 16, low);
            self.write_u64(IDT + u64::from(vector) * 16 + 8, offset >> 32);
        } else {
            self.write_u64(IDT + u64::from(vector) * 8, low);
        }
    }

    fn flat_state(&mut self, cr3: u64, cr4: u64, code_access: u32) {
        let core = self.core();
        let data = Segment::new(DATA_SELECTOR, 0, u32::MAX, 0xc093);
        for index in [segment::ES, segment::SS, segment::DS, segment::FS, segment::GS] {
            core.cpu.seg[index] = data;
        }
        core.cpu.seg[segment::CS] = Segment::new(CODE_SELECTOR, 0, u32::MAX, code_access);
        core.cpu.tr = Segment::new(TSS_SELECTOR, TSS, 0x67, 0x8b);
        core.cpu.gdtr = TableRegister { base: GDT, limit: 0x3f };
        core.cpu.idtr = TableRegister { base: IDT, limit: 0xfff };
        core.cpu.cr0 = cpu::control::cr0::PE | cpu::control::cr0::ET | cpu::control::cr0::WP | cpu::control::cr0::NE;
        core.cpu.cr3 = cr3;
        core.cpu.cr4 = cr4 | cpu::control::cr4::OSFXSR | cpu::control::cr4::OSXMMEXCPT;
    }

    fn finish_state(mut self) -> Self {
        let core = self.core();
        core.cpu.regs[RSP] = STACK;
        core.cpu.update_mode();
        core.cpu.tlb.flush();
        self
    }

    fn new_table(&mut self) -> u64 {
        self.next_table += 0x1000;
        assert!(self.next_table < 0x4_0000, "room for page tables");
        self.next_table - 0x1000
    }

    /// Physical address of the entry for `linear` at the level that indexes by `shift`, making tables down to it.
    pub fn entry_address(&mut self, linear: u64, shift: u32) -> u64 {
        let mut table = self.core().cpu.cr3 & !0xfff;
        let mut level = 39;
        loop {
            let at = table + 8 * (linear >> level & 511);
            if level == shift {
                return at;
            }
            if self.u64(at) & page::P == 0 {
                let new = self.new_table();
                self.write_u64(at, new | page::P | page::W | page::U);
            }
            table = self.u64(at) & 0x000f_ffff_ffff_f000;
            level -= 9;
        }
    }

    /// Maps a 4 KiB page. The TLB is left alone.
    pub fn map_page(&mut self, linear: u64, phys: u64, flags: u64) {
        let at = self.entry_address(linear, 12);
        self.write_u64(at, phys | flags);
    }

    /// The entry of a 4 KiB page.
    pub fn entry(&mut self, linear: u64) -> u64 {
        let at = self.entry_address(linear, 12);
        self.u64(at)
    }
}
