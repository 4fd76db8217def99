//! What may happen while an instruction waits for a device: nothing, until it is complete or given up.

use cpu::flags::bit;
use iced_x86::code_asm::*;
use interp::device::{Access, Space};

use crate::machine::*;

fn read(offset: u64, size: u8, data: u64) -> Access {
    Access { space: Space::Memory, write: false, address: DEVICE + offset, size, data }
}

#[test]
fn an_access_across_device_space_and_a_missing_page_faults_before_it_exits() {
    let mut bench = Bench::long();
    bench.set_reg(RSI, DEVICE + 0x1ffe);
    bench.program(CODE, |a| a.add(dword_ptr(rsi), eax));
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.cr2), (14, Some(2), DEVICE + 0x2000));
    bench.set_reg(RDI, DATA);
    let at = bench.entry_address(DATA, 12);
    bench.write_u64(at, 0);
    bench.program(CODE + 0x100, |a| a.insb());
    bench.core().cpu.tlb.flush();
    assert_eq!(bench.trap().vector, 14, "INS looks at its destination before it asks the port");
}

#[test]
fn an_exit_that_was_not_answered_comes_again() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.mov(eax, dword_ptr(DEVICE))?;
        a.movzx(eax, ax)?;
        a.out(i32::from(DONE), al)
    });
    let first = bench.access();
    assert!(bench.machine.is_waiting(0));
    assert_eq!(bench.access(), first);
    bench.answer(3);
    assert!(!bench.machine.is_waiting(0));
    bench.answer(4);
    bench.finish();
    assert_eq!(bench.reg(RAX), 3, "an answer that nothing waits for is ignored");
}

#[test]
fn a_new_register_state_forgets_the_access_in_progress() {
    let mut bench = Bench::long();
    bench.set_reg(RBX, DEVICE);
    bench.program(CODE, |a| a.add(dword_ptr(rbx), 1));
    bench.access();
    bench.answer(1);
    bench.access();
    bench.program(CODE + 0x100, |a| {
        a.mov(eax, dword_ptr(rbx + 8))?;
        a.out(i32::from(DONE), al)
    });
    let registers = bench.registers();
    bench.machine.set_registers(0, &registers);
    bench.answer(9);
    assert_eq!(bench.finish_with(|_| 5), [read(8, 4, 5)]);
    assert_eq!(bench.reg(RAX), 5);
}

#[test]
fn no_interrupt_comes_between_the_accesses_of_an_instruction() {
    let mut bench = Bench::long();
    bench.set_flags(bit::IF);
    bench.set_reg(RBX, DEVICE);
    bench.program(CODE, |a| {
        a.add(dword_ptr(rbx), 1)?;
        a.out(i32::from(DONE), al)
    });
    let first = bench.access();
    bench.answer(1);
    bench.machine.nmi(0);
    let second = bench.access();
    assert_eq!((first.write, second.write, second.data), (false, true, 2));
    bench.answer(0);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (2, CODE + 3), "the NMI comes after the instruction");
}

#[test]
fn rom_swallows_writes_and_flash_exits_only_for_them() {
    let mut bench = Bench::long();
    bench.machine.map(0x30_0000, 0x1000, guest_mem::Kind::Rom, 0x30_0000).expect("aligned");
    bench.write_u64(0x20_0000, 0x1122);
    bench.machine.map(0x31_0000, 0x1000, guest_mem::Kind::ReadDirect, 0x20_0000).expect("aligned");
    bench.map_page(DATA, 0x30_0000, page::P | page::W);
    bench.map_page(DATA + 0x1000, 0x31_0000, page::P | page::W);
    bench.set_reg(RSI, DATA);
    bench.program(CODE, |a| {
        a.add(dword_ptr(rsi), 5)?;
        a.add(dword_ptr(rsi + 0x1000), 5)?;
        a.mov(eax, dword_ptr(rsi))?;
        a.out(i32::from(DONE), al)
    });
    let log = bench.finish_with(|_| 0);
    assert_eq!(log, [Access { space: Space::Memory, write: true, address: 0x31_0000, size: 4, data: 0x1127 }]);
    assert_eq!(bench.reg(RAX), 0);
    assert_eq!(bench.u64(0x20_0000), 0x1122);
}
