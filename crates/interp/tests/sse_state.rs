//! Availability of the vector units, and FXSAVE, XSAVE and MXCSR: what `sse_host` cannot ask of the host.

use std::rc::Rc;

use cpu::control::{cr0, cr4, efer};
use cpu::segment::{Access, CS, DS};
use cpu::{Cpu, CpuModel, Fault, GuestClock};
use guest_mem::{GuestMem, Kind};
use iced_x86::{Decoder, DecoderOptions};
use interp::{Core, Stop};
use lapic::{Config, LocalApic};
use softfloat::F80;

const DATA: u64 = 0x2000;

const PADDB_XMM: &[u8] = &[0x66, 0x0f, 0xfc, 0xc1];
const PADDB_MM: &[u8] = &[0x0f, 0xfc, 0xc1];
const SQRTPD: &[u8] = &[0x66, 0x0f, 0x51, 0xc1];
const MOVNTI: &[u8] = &[0x0f, 0xc3, 0x07];
const CRC32: &[u8] = &[0xf2, 0x0f, 0x38, 0xf1, 0xc1];
const EMMS: &[u8] = &[0x0f, 0x77];
const CVTPI2PD_MM: &[u8] = &[0x66, 0x0f, 0x2a, 0xc1];
const CVTPI2PD_MEMORY: &[u8] = &[0x66, 0x0f, 0x2a, 0x07];
const MASKMOVDQU: &[u8] = &[0x66, 0x0f, 0xf7, 0xc1];
const CLFLUSH: &[u8] = &[0x0f, 0xae, 0x3f];
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x07];
const FXSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x07];
const FXRSTOR: &[u8] = &[0x0f, 0xae, 0x0f];
const FXRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x0f];
const LDMXCSR: &[u8] = &[0x0f, 0xae, 0x17];
const STMXCSR: &[u8] = &[0x0f, 0xae, 0x1f];
const XSAVE: &[u8] = &[0x0f, 0xae, 0x27];
const XRSTOR: &[u8] = &[0x0f, 0xae, 0x2f];

/// A processor with SSE enabled, and RDI at the data.
struct Machine {
    core: Core,
    bits: u32,
}

impl Machine {
    /// 64-bit mode without paging, which needs no tables.
    fn long() -> Self {
        let mut machine = Self::flat(64);
        machine.core.cpu.efer |= efer::LMA;
        machine.core.cpu.seg[CS].access = Access(0xa09b);
        machine.core.cpu.update_mode();
        machine
    }

    /// Flat 32-bit protected mode.
    fn protected() -> Self {
        Self::flat(32)
    }

    fn flat(bits: u32) -> Self {
        let mem = Rc::new(GuestMem::new(1 << 20).expect("1 MiB of guest memory"));
        mem.set_mapping(0, 1 << 20, Kind::Ram, 0).expect("an aligned mapping");
        let mut cpu = Cpu::new(CpuModel::new("x86-64-v2@1", "GenuineIntel", &[]).expect("a known model"));
        cpu.cr0 |= cr0::PE | cr0::NE;
        cpu.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE;
        cpu.xcr0 = 3;
        for segment in &mut cpu.seg {
            (segment.base, segment.limit, segment.access) = (0, u32::MAX, Access(0xc093));
        }
        cpu.seg[CS].access = Access(0xc09b);
        cpu.regs[7] = DATA;
        cpu.update_mode();
        for i in 0..16u8 {
            cpu.xmm[usize::from(i)] = u128::from_le_bytes([0x40 + i; 16]);
            cpu.x87.registers[usize::from(i & 7)] =
                F80 { mantissa: 0x8000_0000_0000_0000 | u64::from(i), sign_exponent: 0x4000 + u16::from(i & 7) };
        }
        let apic = LocalApic::new(Config { apic_id: 0, bootstrap: true, timer_hz: 1_000_000_000, physical_address_bits: 40 });
        Self { core: Core::new(cpu, mem, apic, Rc::new(GuestClock::default()), 1), bits }
    }

    fn run(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let instruction = Decoder::with_ip(self.bits, bytes, 0, DecoderOptions::NONE).decode();
        assert_eq!(instruction.len(), bytes.len(), "{bytes:02x?}");
        let op = decode::op::pack(&instruction, interp::select(&instruction).handler, self.bits as u8);
        (op.handler.0)(&mut self.core, &op).map_err(|stop| {
            assert_eq!(stop, Stop::Fault);
            self.core.fault
        })
    }

    /// The 1024 bytes at [`DATA`].
    fn area(&self) -> [u8; 1024] {
        let mut area = [0; 1024];
        assert!(self.core.mem.read_bytes(DATA, &mut area));
        area
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        assert!(self.core.mem.write_bytes(DATA + at, bytes));
    }

    /// Registers that a restore would change.
    fn registers(&self) -> String {
        format!("{:x?} {:x} {:x?}", self.core.cpu.xmm, self.core.cpu.mxcsr, self.core.cpu.x87)
    }

    /// Turns 4-level paging on with every page of the first 2 MiB mapped to itself but the one after [`DATA`]'s.
    fn page_with_a_hole(&mut self) {
        const TABLES: u64 = 0x10000;
        let entry = |at: u64, value: u64| assert!(self.core.mem.write_bytes(at, &value.to_le_bytes()));
        for level in 0..3 {
            entry(TABLES + 0x1000 * level, (TABLES + 0x1000 * (level + 1)) | 3);
        }
        for page in 0..512 {
            entry(TABLES + 0x3000 + 8 * page, if page == DATA / 0x1000 + 1 { 0 } else { (page * 0x1000) | 3 });
        }
        self.core.cpu.cr4 |= cr4::PAE;
        self.core.cpu.cr3 = TABLES;
        self.core.cpu.cr0 |= cr0::PG;
        self.core.cpu.update_mode();
    }
}

#[test]
fn sse_needs_to_be_enabled() {
    for (cr0, cr4, fault) in [
        (cr0::EM, cr4::OSFXSR, Fault::UD),
        (cr0::EM | cr0::TS, cr4::OSFXSR, Fault::UD),
        (0, 0, Fault::UD),
        (cr0::TS, 0, Fault::UD),
        (cr0::TS, cr4::OSFXSR, Fault::NM),
    ] {
        let mut machine = Machine::long();
        machine.core.cpu.cr0 |= cr0;
        machine.core.cpu.cr4 = cr4;
        let before = machine.registers();
        for code in [PADDB_XMM, SQRTPD, MASKMOVDQU, CVTPI2PD_MM, CVTPI2PD_MEMORY, LDMXCSR, STMXCSR] {
            assert_eq!(machine.run(code), Err(fault), "{code:02x?}");
        }
        assert_eq!(machine.registers(), before);
        for code in [MOVNTI, CRC32, CLFLUSH] {
            assert_eq!(machine.run(code), Ok(()), "{code:02x?}");
        }
    }
}

#[test]
fn mmx_follows_the_x87() {
    let mut machine = Machine::long();
    machine.core.cpu.cr4 = 0;
    machine.core.cpu.x87.top = 5;
    machine.core.cpu.x87.empty = 0xff;
    assert_eq!(machine.run(PADDB_MM), Ok(()), "OSFXSR is no concern of MMX");
    let x87 = machine.core.cpu.x87;
    assert_eq!((x87.top, x87.empty, x87.registers[0].sign_exponent), (0, 0, 0xffff));
    assert_eq!(machine.run(EMMS), Ok(()));
    assert_eq!(machine.core.cpu.x87.empty, 0xff);

    for (cr0, fault) in [(cr0::EM, Fault::UD), (cr0::EM | cr0::TS, Fault::UD), (cr0::TS, Fault::NM), (0, Fault::MF)] {
        let mut machine = Machine::long();
        machine.core.cpu.cr0 |= cr0;
        machine.core.cpu.x87.status = 0x8081;
        machine.core.cpu.x87.control = 0x37e;
        for code in [PADDB_MM, EMMS] {
            assert_eq!(machine.run(code), Err(fault), "{code:02x?}");
        }
    }

    let mut machine = Machine::long();
    machine.core.cpu.x87.status = 0x8081;
    assert_eq!(machine.run(CVTPI2PD_MM), Err(Fault::MF));
    assert_eq!(machine.run(CVTPI2PD_MEMORY), Ok(()), "no MMX register is touched");
}

#[test]
fn an_unexpected_numeric_exception_is_an_invalid_opcode() {
    let mut machine = Machine::long();
    machine.core.cpu.cr4 &= !cr4::OSXMMEXCPT;
    machine.core.cpu.mxcsr = 0x1f00;
    machine.core.cpu.xmm[1] = 0xbff0_0000_0000_0000;
    let destination = machine.core.cpu.xmm[0];
    assert_eq!(machine.run(SQRTPD), Err(Fault::UD));
    assert_eq!((machine.core.cpu.mxcsr, machine.core.cpu.xmm[0]), (0x1f01, destination));
}

#[test]
fn vex_encodings_are_invalid() {
    let mut machine = Machine::long();
    for code in [&[0xc5, 0xf1, 0xfc, 0xc1][..], &[0xc5, 0xf8, 0x28, 0xc1], &[0xc4, 0xe2, 0x71, 0xdc, 0xc1], &[0xc5, 0xf8, 0x77]] {
        assert_eq!(machine.run(code), Err(Fault::UD), "{code:02x?}");
    }
}

#[test]
fn masked_stores_touch_only_their_bytes() {
    let mut machine = Machine::long();
    machine.page_with_a_hole();
    machine.core.cpu.regs[7] = DATA + 0xff8;
    machine.core.cpu.xmm[1] = 0x80;
    assert_eq!(machine.run(MASKMOVDQU), Ok(()));
    machine.core.cpu.xmm[1] = 0x8000_0000_0000_0000_0080;
    machine.core.cpu.xmm[0] = 0x77;
    assert_eq!(machine.run(MASKMOVDQU), Err(Fault::page(DATA + 0x1000 + 1, 2)));
    assert_eq!(machine.core.mem.load::<u16>(DATA as usize + 0xff8), 0x40, "the first store, and nothing of the second");
}

#[test]
fn clflush_faults_as_a_load() {
    let mut machine = Machine::long();
    machine.page_with_a_hole();
    machine.core.cpu.regs[7] = DATA + 0x1040;
    assert_eq!(machine.run(CLFLUSH), Err(Fault::page(DATA + 0x1040, 0)));
}

#[test]
fn mxcsr_has_sixteen_bits() {
    let mut machine = Machine::long();
    machine.write(0, &0xffffu32.to_le_bytes());
    assert_eq!(machine.run(LDMXCSR), Ok(()));
    machine.core.cpu.regs[7] = DATA + 8;
    assert_eq!(machine.run(STMXCSR), Ok(()));
    assert_eq!(machine.area()[8..12], [0xff, 0xff, 0, 0]);
    machine.write(8, &0x1_0000u32.to_le_bytes());
    assert_eq!(machine.run(LDMXCSR), Err(Fault::GP0));
    assert_eq!(machine.core.cpu.mxcsr, 0xffff);
}

#[test]
fn fxsave_lays_the_state_out() {
    for (mut machine, code, wide, reach) in
        [(Machine::long(), FXSAVE64, true, 16), (Machine::long(), FXSAVE, false, 16), (Machine::protected(), FXSAVE, false, 8)]
    {
        let x87 = &mut machine.core.cpu.x87;
        (x87.control, x87.status, x87.top, x87.empty, x87.opcode) = (0x37f, 0x4100, 6, 0x3f, 0x5d9);
        (x87.instruction_pointer, x87.instruction_selector) = (0x1122_3344_5566_7788, 0x33);
        (x87.data_pointer, x87.data_selector) = (0x99aa_bbcc_ddee_ff00, 0x2b);
        let st0 = x87.registers[6].to_bytes();
        machine.core.cpu.mxcsr = 0x1fa5;
        machine.write(0, &[0xee; 1024]);
        assert_eq!(machine.run(code), Ok(()));
        let area = machine.area();
        assert_eq!(area[..8], [0x7f, 0x03, 0x00, 0x71, 0xc0, 0, 0xd9, 0x05]);
        if wide {
            assert_eq!(area[8..24], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99]);
        } else {
            assert_eq!(area[8..24], [0x88, 0x77, 0x66, 0x55, 0x33, 0, 0, 0, 0x00, 0xff, 0xee, 0xdd, 0x2b, 0, 0, 0]);
        }
        assert_eq!(area[24..32], [0xa5, 0x1f, 0, 0, 0xff, 0xff, 0, 0]);
        assert_eq!(area[32..42], st0);
        assert_eq!(area[42..48], [0; 6]);
        for i in 0..reach {
            assert_eq!(area[160 + 16 * i..176 + 16 * i], [0x40 + i as u8; 16]);
        }
        assert_eq!(area[160 + 16 * reach..], [0xee; 1024][160 + 16 * reach..], "beyond the registers nothing is written");
    }
}

#[test]
fn fxrstor_undoes_fxsave() {
    for (mut machine, save, restore, reach) in
        [(Machine::long(), FXSAVE64, FXRSTOR64, 16), (Machine::long(), FXSAVE, FXRSTOR, 16), (Machine::protected(), FXSAVE, FXRSTOR, 8)]
    {
        let x87 = &mut machine.core.cpu.x87;
        (x87.control, x87.status, x87.top, x87.empty, x87.opcode) = (0x37f, 0x4100, 6, 0x3f, 0x5d9);
        (x87.instruction_pointer, x87.data_pointer) = (0x1234, 0x5678);
        let before = machine.registers();
        assert_eq!(machine.run(save), Ok(()));
        machine.core.cpu.xmm[..reach].fill(0);
        machine.core.cpu.mxcsr = 0;
        machine.core.cpu.x87 = cpu::X87State::initialized();
        assert_eq!(machine.run(restore), Ok(()));
        assert_eq!(machine.registers(), before);
    }
}

#[test]
fn fxsave_and_fxrstor_fault_before_they_change_anything() {
    let mut machine = Machine::long();
    for code in [FXSAVE, FXRSTOR] {
        machine.core.cpu.regs[7] = DATA + 8;
        assert_eq!(machine.run(code), Err(Fault::GP0), "16-byte alignment");
        machine.core.cpu.regs[7] = DATA;
        for bit in [cr0::EM, cr0::TS] {
            machine.core.cpu.cr0 |= bit;
            assert_eq!(machine.run(code), Err(Fault::NM));
            machine.core.cpu.cr0 &= !bit;
        }
    }
    machine.write(24, &[0, 0, 1, 0]);
    let before = machine.registers();
    assert_eq!(machine.run(FXRSTOR), Err(Fault::GP0), "reserved bits of MXCSR");
    assert_eq!(machine.registers(), before);

    machine.page_with_a_hole();
    machine.core.cpu.regs[7] = DATA + 0xf00;
    assert_eq!(machine.run(FXSAVE), Err(Fault::page(DATA + 0xf00 + 511, 2)), "processors try the last byte first");
    assert_eq!(machine.core.mem.load::<u64>(DATA as usize + 0xf00), 0);
    assert_eq!(machine.run(FXRSTOR), Err(Fault::page(DATA + 0xf00 + 511, 0)));
    assert_eq!(machine.registers(), before);

    let mut machine = Machine::protected();
    machine.core.cpu.seg[DS].limit = DATA as u32 + 510;
    machine.core.cpu.update_mode();
    assert_eq!(machine.run(FXSAVE), Err(Fault::GP0), "the limit covers 512 bytes");
}

#[test]
fn xsave_saves_what_is_asked_for() {
    let mut machine = Machine::long();
    machine.write(0, &[0xee; 512]);
    machine.write(512, &(1u64 << 1).to_le_bytes());
    machine.write(520, &[0xee; 56]);
    (machine.core.cpu.regs[0], machine.core.cpu.regs[2]) = (1, 0xffff_ffff_0000_0000);
    assert_eq!(machine.run(XSAVE), Ok(()));
    let area = machine.area();
    assert_eq!(area[512..520], 3u64.to_le_bytes(), "what is not asked for keeps its bit");
    assert_eq!(area[520..576], [0xee; 56], "the rest of the header is not written");
    assert_eq!(area[24..32], [0xee; 8], "MXCSR goes with SSE");
    assert_eq!(area[160..512], [0xee; 352]);
    assert_ne!(area[32..40], [0xee; 8]);

    machine.write(0, &[0xee; 512]);
    machine.core.cpu.regs[0] = 0xffff_fffe;
    assert_eq!(machine.run(XSAVE), Ok(()));
    let area = machine.area();
    assert_eq!(area[..24], [0xee; 24]);
    assert_eq!(area[24..32], [0x80, 0x1f, 0, 0, 0xff, 0xff, 0, 0]);
    assert_eq!(area[32..160], [0xee; 128]);
    assert_eq!(area[400..416], [0x4f; 16]);
}

#[test]
fn xrstor_restores_or_initializes() {
    let mut machine = Machine::long();
    machine.core.cpu.regs[0] = 3;
    assert_eq!(machine.run(XSAVE), Ok(()));
    let before = machine.registers();
    machine.core.cpu.xmm = [0; 16];
    machine.core.cpu.x87 = cpu::X87State::initialized();
    assert_eq!(machine.run(XRSTOR), Ok(()));
    assert_eq!(machine.registers(), before);

    machine.write(512, &0u64.to_le_bytes());
    machine.write(24, &0x9fc0u32.to_le_bytes());
    machine.core.cpu.regs[0] = 2;
    assert_eq!(machine.run(XRSTOR), Ok(()));
    assert_eq!((machine.core.cpu.xmm, machine.core.cpu.mxcsr), ([0; 16], 0x9fc0), "MXCSR is loaded whatever XSTATE_BV says");
    assert_eq!(machine.core.cpu.x87.control, 0x40);
    machine.core.cpu.regs[0] = 1;
    assert_eq!(machine.run(XRSTOR), Ok(()));
    assert_eq!((machine.core.cpu.x87.control, machine.core.cpu.x87.empty), (0x37f, 0xff));
}

#[test]
fn legacy_code_keeps_the_upper_registers_through_xrstor() {
    let mut machine = Machine::protected();
    machine.write(24, &0x1f80u32.to_le_bytes());
    machine.core.cpu.regs[0] = 3;
    assert_eq!(machine.run(XRSTOR), Ok(()));
    assert_eq!((machine.core.cpu.xmm[7], machine.core.cpu.xmm[8]), (0, u128::from_le_bytes([0x48; 16])));
}

#[test]
fn xsave_and_xrstor_fault_before_they_change_anything() {
    let mut machine = Machine::long();
    machine.core.cpu.regs[0] = 3;
    machine.core.cpu.cr0 |= cr0::TS;
    machine.core.cpu.cr4 &= !cr4::OSXSAVE;
    for code in [XSAVE, XRSTOR] {
        assert_eq!(machine.run(code), Err(Fault::UD));
    }
    machine.core.cpu.cr4 |= cr4::OSXSAVE;
    for code in [XSAVE, XRSTOR] {
        assert_eq!(machine.run(code), Err(Fault::NM));
    }
    machine.core.cpu.cr0 &= !cr0::TS;
    machine.core.cpu.regs[7] = DATA + 32;
    for code in [XSAVE, XRSTOR] {
        assert_eq!(machine.run(code), Err(Fault::GP0), "64-byte alignment");
    }
    machine.core.cpu.regs[7] = DATA;
    let before = machine.registers();
    for (at, value) in [(512, 4u64), (520, 1 << 63), (520, 3), (528, 1), (24, 1 << 16)] {
        machine.write(0, &[0; 576]);
        machine.write(512, &3u64.to_le_bytes());
        machine.write(at, &value.to_le_bytes());
        assert_eq!(machine.run(XRSTOR), Err(Fault::GP0), "{value:#x} at {at}");
        assert_eq!(machine.registers(), before);
    }
}
