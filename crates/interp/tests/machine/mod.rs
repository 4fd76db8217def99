//! A processor with 4 MiB of RAM and hand-made tables, for tests that execute one instruction at a time.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::rc::Rc;

use cpu::control::{cr0, cr4, efer};
use cpu::segment::{self, Segment};
use cpu::{Cpu, CpuModel, Fault, GuestClock, RIP, TableRegister};
use decode::block::{BlockKey, form};
use guest_mem::{GuestMem, Kind, Word};
use interp::{Core, Exec, Stop};
use lapic::{Config, LocalApic};

pub const GDT: u64 = 0x1000;
pub const IDT: u64 = 0x2000;
pub const TSS: u64 = 0x3000;
pub const LDT: u64 = 0x3800;
pub const CODE: u64 = 0x6000;
pub const STACK: u64 = 0x8000;
pub const INNER_STACK: u64 = 0xa000;
pub const HANDLER: u64 = 0x5000;
pub const PML4: u64 = 0x1_0000;
/// Start of the half of the address space that maps to physical 0 for supervisors only.
pub const HIGH: u64 = 0xffff_ff80_0000_0000;

pub const KCODE64: u16 = 0x08;
pub const KDATA: u16 = 0x10;
pub const KCODE32: u16 = 0x18;
pub const UCODE32: u16 = 0x23;
pub const UDATA: u16 = 0x2b;
pub const UCODE64: u16 = 0x33;
pub const CONFORMING: u16 = 0x38;
pub const ABSENT: u16 = 0x40;
pub const TASK: u16 = 0x48;
pub const LOCAL: u16 = 0x58;
pub const KCODE16: u16 = 0x68;
pub const GATE: u16 = 0x70;
pub const TASK2: u16 = 0x80;
pub const EXECUTE_ONLY: u16 = 0x88;
pub const READ_ONLY: u16 = 0x90;
pub const GDT_LIMIT: u16 = 0x97;

const DESCRIPTORS: &[(u16, u64)] = &[
    (KCODE64, 0x00af_9b00_0000_ffff),
    (KDATA, 0x00cf_9300_0000_ffff),
    (KCODE32, 0x00cf_9b00_0000_ffff),
    (UCODE32 & !3, 0x00cf_fb00_0000_ffff),
    (UDATA & !3, 0x00cf_f300_0000_ffff),
    (UCODE64 & !3, 0x00af_fb00_0000_ffff),
    (CONFORMING, 0x00cf_9f00_0000_ffff),
    (ABSENT, 0x00cf_1300_0000_ffff),
    (TASK, 0x0000_8900_3000_0067),
    (LOCAL, 0x0000_8200_3800_0017),
    (KCODE16, 0x0000_9b00_0000_ffff),
    (TASK2, 0x0000_8900_3400_0067),
    (EXECUTE_ONLY, 0x00cf_9900_0000_ffff),
    (READ_ONLY, 0x00cf_9100_0000_ffff),
];

pub struct Machine {
    pub core: Core,
}

impl Machine {
    /// Real mode, flat in the first 64 KiB, the vector table at 0.
    pub fn real() -> Self {
        let mem = Rc::new(GuestMem::new(4 << 20).expect("4 MiB can be reserved"));
        mem.set_mapping(0, 4 << 20, Kind::Ram, 0).expect("in range");
        let model = CpuModel::new("x86-64-v2@1", "GenuineIntel", &[]).expect("a known model");
        let lapic = LocalApic::new(Config { apic_id: 0, bootstrap: true, timer_hz: 25_000_000, physical_address_bits: 46 });
        let core = Core::new(Cpu::new(model), mem, lapic, Rc::new(GuestClock::default()), 1);
        let mut machine = Self { core };
        machine.core.cpu.load_real_segment(segment::CS, 0);
        machine.core.cpu.idtr = TableRegister { base: 0, limit: 0x3ff };
        machine.core.cpu.update_mode();
        machine.set_rip(CODE);
        machine.set_rsp(STACK);
        machine
    }

    /// Flat 32-bit protected mode at `cpl` 0 or 3, without paging.
    pub fn protected(cpl: u8) -> Self {
        let mut machine = Self::real();
        for &(selector, descriptor) in DESCRIPTORS {
            machine.put(GDT + u64::from(selector), descriptor);
        }
        machine.put::<u32>(TSS + 4, INNER_STACK as u32);
        machine.put::<u16>(TSS + 8, KDATA);
        let cpu = &mut machine.core.cpu;
        cpu.gdtr = TableRegister { base: GDT, limit: GDT_LIMIT };
        cpu.idtr = TableRegister { base: IDT, limit: 0x7ff };
        cpu.cr0 = cr0::PE | cr0::ET;
        cpu.tr = Segment::new(TASK, TSS, 0x67, 0x8b);
        machine.set_level(cpl, 0xc09b, if cpl == 0 { KCODE32 } else { UCODE32 });
        machine
    }

    /// 64-bit mode at `cpl` 0 or 3; the low half of the address space is open to users, the high one is not.
    pub fn long(cpl: u8) -> Self {
        let mut machine = Self::protected(0);
        machine.put(PML4, 0x1_1007u64);
        machine.put(PML4 + 511 * 8, 0x1_2003u64);
        machine.put(0x1_1000, 0x87u64);
        machine.put(0x1_2000, 0x83u64);
        machine.put(TSS + 4, INNER_STACK);
        let cpu = &mut machine.core.cpu;
        (cpu.cr0, cpu.cr3, cpu.cr4) = (cr0::PE | cr0::PG | cr0::ET | cr0::WP, PML4, cr4::PAE);
        cpu.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
        cpu.idtr.limit = 0xfff;
        machine.set_level(cpl, 0xa09b, if cpl == 0 { KCODE64 } else { UCODE64 });
        machine
    }

    /// Sets CS and the flat data segments for a privilege level.
    pub fn set_level(&mut self, cpl: u8, code_access: u32, code: u16) {
        let level = u32::from(cpl) << 5;
        let data = Segment::new(if cpl == 0 { KDATA } else { UDATA }, 0, u32::MAX, 0xc093 | level);
        let cpu = &mut self.core.cpu;
        for index in 0..6 {
            cpu.seg[index] = data;
        }
        cpu.seg[segment::CS] = Segment::new(code, 0, u32::MAX, code_access | level);
        cpu.update_mode();
    }

    /// An interrupt or trap gate (`kind`) of the mode's size, at privilege `dpl`.
    pub fn gate(&mut self, vector: u8, selector: u16, offset: u64, kind: u64, dpl: u64) {
        let low = offset & 0xffff | u64::from(selector) << 16 | (0x80 | dpl << 5 | kind) << 40 | (offset >> 16 & 0xffff) << 48;
        if self.core.cpu.long_mode() {
            self.put(IDT + u64::from(vector) * 16, low);
            self.put(IDT + u64::from(vector) * 16 + 8, offset >> 32);
        } else {
            self.put(IDT + u64::from(vector) * 8, low);
        }
    }

    pub fn set_rip(&mut self, rip: u64) {
        self.core.cpu.regs[RIP as usize] = rip;
    }
    pub fn set_rsp(&mut self, rsp: u64) {
        self.core.cpu.regs[4] = rsp;
    }
    pub fn rsp(&self) -> u64 {
        self.core.cpu.regs[4]
    }
    pub fn selector(&self, index: usize) -> u16 {
        self.core.cpu.seg[index].selector
    }
    /// Writes RAM at a physical address.
    pub fn put<T: Word>(&mut self, at: u64, value: T) {
        assert!(self.core.mem.write_bytes(at, &value.to_le()[..T::SIZE]));
    }
    /// Reads RAM at a physical address.
    pub fn get<T: Word>(&self, at: u64) -> T {
        self.core.mem.load(at as usize)
    }
    /// The words of `T` on the stack, from its pointer up.
    pub fn stack<T: Word>(&self, count: u64) -> Vec<u64> {
        (0..count).map(|index| self.get::<T>((self.rsp() & 0x3f_ffff) + index * T::SIZE as u64).u64()).collect()
    }
    /// Lays `words` of `T` on the stack, the first on top.
    pub fn put_stack<T: Word>(&mut self, words: &[u64]) {
        for (index, &word) in words.iter().enumerate() {
            self.put(self.rsp() + (index * T::SIZE) as u64, T::of(word));
        }
    }

    /// Executes one instruction, wherever its bytes might lie, the way the run loop does.
    pub fn step(&mut self, bytes: &[u8]) -> Exec {
        let key = BlockKey { ram_offset: 0, code_bits: self.core.cpu.code_bits };
        let block = form(key, bytes, None, interp::select).expect("a whole instruction");
        let op = block.ops[0];
        let start = self.core.cpu.rip();
        self.core.cpu.set_rip(start.wrapping_add(u64::from(op.length)));
        let result = (op.handler.0)(&mut self.core, &op);
        if result.is_err() {
            self.core.cpu.regs[RIP as usize] = start;
        } else {
            self.core.device.finish();
        }
        result
    }

    /// The fault that an instruction raises.
    pub fn fault(&mut self, bytes: &[u8]) -> Fault {
        assert_eq!(self.step(bytes), Err(Stop::Fault), "{bytes:02x?}");
        self.core.fault
    }
}
