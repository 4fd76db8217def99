//! x87 state beyond the data path: who may use the unit, late errors, pointers, and the memory layouts in each mode.

use std::rc::Rc;

use cpu::segment::{Access, CS, DS, SS};
use cpu::{Cpu, CpuModel, Fault, GuestClock, X87State, control::cr0};
use guest_mem::{GuestMem, Kind};
use iced_x86::{Decoder, DecoderOptions};
use interp::{Core, Exec, Stop};
use lapic::{Config, LocalApic};
use softfloat::F80;

const CODE: u64 = 0x1000;
const DATA: u64 = 0x2000;
const ES: u16 = 0x80;

/// A processor in protected mode with code and stack of `bits`, segments from 0.
fn protected(bits: u8) -> Core {
    let mut core = real();
    core.cpu.cr0 |= cr0::PE;
    for segment in &mut core.cpu.seg {
        segment.limit = u32::MAX;
        segment.access = Access(if bits == 32 { 0xc093 } else { 0x8093 });
    }
    core.cpu.seg[CS].access = Access(if bits == 32 { 0xc09b } else { 0x809b });
    core.cpu.update_mode();
    core
}

/// A processor in real mode with all segments at 0.
fn real() -> Core {
    let mem = Rc::new(GuestMem::new(1 << 20).expect("1 MiB of guest memory"));
    mem.set_mapping(0, 1 << 20, Kind::Ram, 0).expect("an aligned mapping");
    let mut cpu = Cpu::new(CpuModel::new("x86-64-v2@1", "GenuineIntel", &[]).expect("a known model"));
    for segment in &mut cpu.seg {
        segment.base = 0;
        segment.selector = 0;
    }
    cpu.cr0 |= cr0::NE;
    cpu.x87 = X87State::initialized();
    cpu.update_mode();
    let apic = LocalApic::new(Config { apic_id: 0, bootstrap: true, timer_hz: 1_000_000_000, physical_address_bits: 40 });
    Core::new(cpu, mem, apic, Rc::new(GuestClock::default()), 1)
}

/// Runs one instruction that addresses memory through (E)DI or (E)BX at `DATA`.
fn run(core: &mut Core, bytes: &[u8]) -> Exec {
    let bits = core.cpu.code_bits;
    let instruction = Decoder::with_ip(u32::from(bits), bytes, 0, DecoderOptions::NONE).decode();
    assert_eq!(instruction.len(), bytes.len());
    let op = decode::op::pack(&instruction, interp::select(&instruction).handler, bits);
    assert!(core.mem.write_bytes(core.cpu.seg[CS].base + CODE, bytes));
    (core.cpu.regs[3], core.cpu.regs[7]) = (DATA, DATA);
    core.cpu.set_rip(CODE + bytes.len() as u64);
    (op.handler.0)(core, &op)
}

fn memory<const N: usize>(core: &Core, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    assert!(core.mem.read_bytes(address, &mut bytes));
    bytes
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn dwords(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|quad| u32::from_le_bytes([quad[0], quad[1], quad[2], quad[3]])).collect()
}

const FLD1: [u8; 2] = [0xd9, 0xe8];
const FLDZ: [u8; 2] = [0xd9, 0xee];
const FNINIT: [u8; 2] = [0xdb, 0xe3];
const FWAIT: [u8; 1] = [0x9b];
const FDIVP: [u8; 2] = [0xde, 0xf9];
const FNSTENV: [u8; 2] = [0xd9, 0x37];
const FLDENV: [u8; 2] = [0xd9, 0x27];
const FNSAVE: [u8; 2] = [0xdd, 0x37];
const FRSTOR: [u8; 2] = [0xdd, 0x27];

#[test]
fn a_unit_that_is_emulated_or_switched_away_is_not_available() {
    for (bits, instruction, wait) in
        [(cr0::EM, true, false), (cr0::TS, true, false), (cr0::TS | cr0::MP, true, true), (cr0::MP, false, false)]
    {
        let mut core = protected(32);
        core.cpu.cr0 = core.cpu.cr0 & !(cr0::EM | cr0::TS | cr0::MP) | bits;
        for (bytes, faults) in [(&FLD1[..], instruction), (&FNINIT[..], instruction), (&FWAIT[..], wait)] {
            let outcome = run(&mut core, bytes);
            assert_eq!(outcome, if faults { Err(Stop::Fault) } else { Ok(()) }, "{bytes:x?} with {bits:#x}");
            assert!(!faults || core.fault == Fault::NM);
        }
    }
}

#[test]
fn an_unmasked_error_is_reported_by_the_next_waiting_instruction() {
    let mut core = protected(32);
    core.cpu.x87.control = 0x37b;
    for bytes in [FLD1, FLDZ, FDIVP] {
        run(&mut core, &bytes).expect("reported later");
    }
    // The operands are still there.
    assert_eq!((core.cpu.x87.status & 0x80ff, core.cpu.x87.top), (0x8084, 6));
    assert_eq!(core.cpu.x87.opcode, 0x6f9);
    for bytes in [&FLD1[..], &FWAIT[..]] {
        assert_eq!(run(&mut core, bytes), Err(Stop::Fault));
        assert_eq!(core.fault, Fault::MF);
    }
    core.cpu.cr0 &= !cr0::NE;
    run(&mut core, &FWAIT).expect("not reported inside without NE");
    core.cpu.cr0 |= cr0::NE;
    run(&mut core, &FNSTENV).expect("a control instruction does not wait");
    assert_eq!(core.cpu.x87.status & ES, 0, "FNSTENV masks everything");
    run(&mut core, &FLDENV).expect("nothing pends any more");
    assert_eq!(core.cpu.x87.status & ES, ES, "the old control word unmasks the error again");
}

#[test]
fn pointers_follow_instructions_with_operands_but_not_control() {
    let mut core = protected(32);
    core.cpu.seg[CS].selector = 0x08;
    core.cpu.seg[DS].selector = 0x10;
    core.cpu.seg[SS].selector = 0x18;
    run(&mut core, &[0x36, 0xd9, 0x07]).expect("FLD dword ptr ss:[edi]");
    run(&mut core, &FLD1).expect("room on the stack");
    run(&mut core, &[0xd9, 0x3f]).expect("FNSTCW [edi]");
    let x87 = &core.cpu.x87;
    assert_eq!((x87.instruction_pointer, x87.instruction_selector), (CODE, 0x08));
    assert_eq!((x87.data_pointer, x87.data_selector), (DATA, 0x18));
}

#[test]
fn a_fault_in_the_middle_of_an_image_changes_nothing() {
    let mut core = protected(32);
    core.cpu.seg[DS].limit = DATA as u32 + 100;
    core.cpu.update_mode();
    run(&mut core, &FLD1).expect("room on the stack");
    assert!(core.mem.write_bytes(DATA, &[0xaa; 108]));
    assert_eq!(run(&mut core, &FNSAVE), Err(Stop::Fault));
    assert_eq!(core.fault, Fault::GP0);
    assert_eq!((core.cpu.x87.top, memory::<108>(&core, DATA)), (7, [0xaa; 108]));
}

/// A state whose pointers have distinct digits everywhere.
fn marked(core: &mut Core) {
    let x87 = &mut core.cpu.x87;
    x87.top = 3;
    x87.status = 0x4100;
    x87.control = 0x27f;
    x87.empty = 0b1111_0000;
    x87.registers[0] = F80::ONE;
    x87.registers[1] = F80::ZERO;
    x87.registers[2] = F80::INDEFINITE;
    x87.registers[3] = F80::from_i32(7);
    (x87.instruction_pointer, x87.instruction_selector) = (0x4_5678, 0xf000);
    (x87.data_pointer, x87.data_selector) = (0x1_2345, 0x1000);
    x87.opcode = 0x5ab;
}

/// Tags: empty above 3, then valid, special, zero, valid.
const TAGS: u16 = 0b1111_1111_0010_0100;

#[test]
fn environments_have_four_layouts() {
    let status = 0x5900;
    // 0xf0000 + 0x45678 and 0x10000 + 0x12345.
    let (ip, dp) = (0x13_5678u32, 0x2_2345u32);
    let mut core = real();
    marked(&mut core);
    run(&mut core, &FNSTENV).expect("memory is there");
    let expected = [0x27f, status, TAGS, ip as u16, (ip >> 4 & 0xf000) as u16 | 0x5ab, dp as u16, (dp >> 4 & 0xf000) as u16];
    assert_eq!(words(&memory::<14>(&core, DATA)), expected);

    let mut core = real();
    marked(&mut core);
    run(&mut core, &[0x66, 0xd9, 0x37]).expect("memory is there");
    let expected = [0x27f, status.into(), TAGS.into(), ip & 0xffff, ip >> 4 & 0xfff_f000 | 0x5ab, dp & 0xffff, dp >> 4 & 0xfff_f000];
    let image = dwords(&memory::<28>(&core, DATA));
    for (index, (stored, expected)) in image.iter().zip(expected).enumerate() {
        let reserved = if matches!(index, 4 | 6) { 0xf000_0000 } else { 0xffff_0000 };
        assert_eq!(stored & !reserved, expected, "field {index}");
    }

    let mut core = protected(16);
    marked(&mut core);
    run(&mut core, &FNSTENV).expect("memory is there");
    assert_eq!(words(&memory::<14>(&core, DATA)), [0x27f, status, TAGS, 0x5678, 0xf000, 0x2345, 0x1000]);

    let mut core = protected(32);
    marked(&mut core);
    run(&mut core, &FNSTENV).expect("memory is there");
    assert_eq!(
        dwords(&memory::<28>(&core, DATA)),
        [0xffff_027f, 0xffff_0000 | u32::from(status), 0xffff_0000 | u32::from(TAGS), 0x4_5678, 0x05ab_f000, 0x1_2345, 0xffff_1000]
    );
}

#[test]
fn saving_and_restoring_keeps_the_state_in_every_mode() {
    for mut core in [real(), protected(16), protected(32)] {
        marked(&mut core);
        let before = core.cpu.x87;
        run(&mut core, &FNSAVE).expect("memory is there");
        assert_eq!((core.cpu.x87.control, core.cpu.x87.empty, core.cpu.x87.top), (0x37f, 0xff, 0), "FNSAVE initializes");
        core.cpu.x87.registers = [F80::ZERO; 8];
        run(&mut core, &FRSTOR).expect("memory is there");
        let after = core.cpu.x87;
        assert_eq!(
            (after.registers, after.top, after.control, after.status, after.empty),
            (before.registers, before.top, before.control, before.status, before.empty)
        );
        assert_eq!(after.instruction_pointer & 0xffff, 0x5678);
    }
}

#[test]
fn the_control_word_keeps_its_reserved_bits() {
    let mut core = protected(32);
    for (written, read) in [(0u16, 0x40u16), (0xffff, 0x1f7f)] {
        assert!(core.mem.write_bytes(DATA, &written.to_le_bytes()));
        run(&mut core, &[0xd9, 0x2f]).expect("FLDCW");
        run(&mut core, &[0xd9, 0x3f]).expect("FNSTCW");
        assert_eq!(memory::<2>(&core, DATA), read.to_le_bytes());
    }
}
