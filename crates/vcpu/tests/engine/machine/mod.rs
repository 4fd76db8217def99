//! The bench that every test of the engine stands on: a machine with 4 MiB of RAM, set up for one mode, with a
//! handler for every vector that reports to the test and returns.
//!
//! Nothing here is firmware: tables are written from Rust. Programs report through ports: [`DONE`] ends one, and the
//! handler of vector `v` writes to [`TRAP`] + `v`.

mod modes;

use cpu::RIP;
use guest_mem::Kind;
use iced_x86::IcedError;
use iced_x86::code_asm::CodeAssembler;
use interp::Core;
use interp::device::{Access, Space};
use vcpu::{Config, Exit, Machine, Registers};

pub const RAM_BYTES: u64 = 4 << 20;
/// Guest-physical and linear address of two pages of device space.
pub const DEVICE: u64 = 0x1000_0000;
pub const LAPIC: u64 = 0xfee0_0000;
pub const CODE: u64 = 0x10_0000;
pub const DATA: u64 = 0x18_0000;
/// Top of the stack that programs start with.
pub const STACK: u64 = 0x8_0000;
/// Stack for level 0, and for handlers that use IST1.
pub const INNER_STACK: u64 = 0x7_0000;
pub const IST1_STACK: u64 = 0x6_0000;
pub const GDT: u64 = 0x8000;
pub const IDT: u64 = 0x9000;
pub const TSS: u64 = 0xa000;
const STUBS: u64 = 0xb000;
const STUB_BYTES: u64 = 16;
const TABLES: u64 = 0x1_0000;

/// Port that ends a program.
pub const DONE: u16 = 0x70;
/// Port of vector 0's handler.
pub const TRAP: u16 = 0x80;
/// Vectors with a handler that reports.
const VECTORS: u64 = 0x60;

pub const CODE_SELECTOR: u16 = 0x08;
pub const DATA_SELECTOR: u16 = 0x10;
pub const USER_DATA_SELECTOR: u16 = 0x1b;
pub const USER_CODE_SELECTOR: u16 = 0x23;
const TSS_SELECTOR: u16 = 0x30;

/// Page-table entry bits.
pub mod page {
    pub const P: u64 = 1;
    pub const W: u64 = 1 << 1;
    pub const U: u64 = 1 << 2;
    pub const A: u64 = 1 << 5;
    pub const D: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const G: u64 = 1 << 8;
    pub const NX: u64 = 1 << 63;
}

pub const RAX: usize = 0;
pub const RCX: usize = 1;
pub const RDX: usize = 2;
pub const RBX: usize = 3;
pub const RSP: usize = 4;
pub const RSI: usize = 6;
pub const RDI: usize = 7;

/// What an exception or interrupt pushed, and CR2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    pub vector: u8,
    pub error: Option<u64>,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub cr2: u64,
}

/// Vectors that push an error code.
fn has_error(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17)
}

/// One machine under test.
pub struct Bench {
    pub machine: Machine,
    bits: u32,
    next_table: u64,
    /// Instructions a run may take before it is called again.
    pub quantum: u32,
}

/// Assembles for `bits`-bit code at address `ip`.
pub fn assemble(bits: u32, ip: u64, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bits).expect("16, 32 or 64");
    write(&mut assembler).expect("operands that can be encoded");
    assembler.assemble(ip).expect("branches in range")
}

impl Bench {
    fn new(bits: u32) -> Self {
        let config = Config {
            memory_bytes: RAM_BYTES as usize,
            cpus: 1,
            cpu_model: "x86-64-v2@1".into(),
            vendor: "GenuineIntel".into(),
            features: vec![],
        };
        let mut machine = Machine::new(&config).expect("the model and 4 MiB of RAM are available");
        machine.map(0, RAM_BYTES, Kind::Ram, 0).expect("aligned and in range");
        machine.enter_virtual_wire();
        Self { machine, bits, next_table: TABLES, quantum: 1 << 20 }
    }

    pub fn core(&mut self) -> &mut Core {
        self.machine.core_mut(0)
    }

    pub fn reg(&mut self, number: usize) -> u64 {
        self.core().cpu.regs[number]
    }

    pub fn set_reg(&mut self, number: usize, value: u64) {
        self.core().cpu.regs[number] = value;
    }

    pub fn rip(&mut self) -> u64 {
        self.core().cpu.rip()
    }

    pub fn set_rip(&mut self, rip: u64) {
        self.core().cpu.regs[RIP as usize] = rip;
    }

    /// Sets bits of RFLAGS.
    pub fn set_flags(&mut self, mask: u64) {
        self.core().cpu.flags.assign(mask, true);
        self.core().cpu.update_view();
    }

    pub fn registers(&mut self) -> Registers {
        self.machine.registers(0)
    }

    /// Everything a program can have changed: registers, SSE state, all of RAM, the count and the clock.
    pub fn everything(&mut self) -> (Registers, [u128; 16], Vec<u8>, u64, u64) {
        let ram = self.bytes(0, RAM_BYTES as usize);
        (self.machine.registers(0), self.core().cpu.xmm, ram, self.machine.instructions(), self.machine.guest_ns())
    }

    pub fn write(&mut self, phys: u64, bytes: &[u8]) {
        assert!(self.machine.memory().write_bytes(phys, bytes), "{phys:#x} is RAM");
    }

    pub fn write_u64(&mut self, phys: u64, value: u64) {
        self.write(phys, &value.to_le_bytes());
    }

    pub fn bytes(&self, phys: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        assert!(self.machine.memory().read_bytes(phys, &mut bytes), "{phys:#x} is RAM");
        bytes
    }

    pub fn u64(&self, phys: u64) -> u64 {
        u64::from_le_bytes(self.bytes(phys, 8).try_into().expect("8 bytes"))
    }

    /// Writes a program at `at`, sets RIP to it, and returns the address after it.
    pub fn program(&mut self, at: u64, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> u64 {
        let end = self.routine(at, write);
        self.set_rip(at);
        end
    }

    /// Writes code at `at` and returns the address after it.
    pub fn routine(&mut self, at: u64, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> u64 {
        let bytes = assemble(self.bits, at, write);
        self.write(at, &bytes);
        at + bytes.len() as u64
    }

    /// Runs to the next exit that is no [`Exit::Budget`].
    pub fn exit(&mut self) -> Exit {
        for _ in 0..1_000_000 {
            match self.machine.run(0, self.quantum, u64::MAX) {
                Exit::Budget => {}
                exit => return exit,
            }
        }
        panic!("no exit:\n{}", self.machine.dump(0));
    }

    pub fn answer(&mut self, data: u64) {
        self.machine.answer(0, data);
    }

    /// Runs to the program's end, answering devices by `device`; returns the accesses in order. A trap fails the test.
    pub fn finish_with(&mut self, mut device: impl FnMut(&Access) -> u64) -> Vec<Access> {
        let mut log = Vec::new();
        loop {
            let access = self.access();
            if access.space == Space::Port && access.address == u64::from(DONE) {
                return log;
            }
            let trapped = access.space == Space::Port && (TRAP..TRAP + VECTORS as u16).contains(&(access.address as u16));
            assert!(!trapped, "unexpected {access:?}:\n{}", self.machine.dump(0));
            let data = device(&access);
            log.push(Access { data: if access.write { access.data } else { data }, ..access });
            self.answer(data);
        }
    }

    /// Runs to the end of a program that touches no device.
    pub fn finish(&mut self) {
        let log = self.finish_with(|access| panic!("unexpected {access:?}"));
        assert!(log.is_empty());
    }

    /// Runs to the next device access, which then waits for its answer.
    pub fn access(&mut self) -> Access {
        match self.exit() {
            Exit::Io(access) | Exit::Mmio(access) => access,
            exit => panic!("{exit:?} instead of a device access:\n{}", self.machine.dump(0)),
        }
    }

    /// Runs to the next handler and reads its frame; the handler returns when the machine is run on.
    pub fn trap(&mut self) -> Trap {
        let access = self.access();
        let port = access.address.checked_sub(u64::from(TRAP)).filter(|_| access.space == Space::Port);
        let vector = port.unwrap_or_else(|| panic!("{access:?} instead of a trap:\n{}", self.machine.dump(0)));
        self.answer(0);
        let width = u64::from(self.bits / 8);
        let stack = self.reg(RSP);
        let word = |bench: &Self, index: u64| {
            let value = bench.u64(stack + index * width);
            if width == 8 { value } else { value & ((1 << (8 * width)) - 1) }
        };
        let skipped = u64::from(has_error(vector) && self.bits != 16);
        Trap {
            vector: vector as u8,
            error: (skipped == 1).then(|| word(self, 0)),
            rip: word(self, skipped),
            cs: word(self, skipped + 1),
            rflags: word(self, skipped + 2),
            cr2: self.core().cpu.cr2,
        }
    }
}
