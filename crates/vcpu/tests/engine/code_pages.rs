//! Code that crosses pages, whose pages change, or that the processor itself writes: frames and accessed bits.

use guest_mem::Kind;
use iced_x86::code_asm::*;

use crate::machine::*;

/// Bytes of `mov eax, imm32` before its immediate.
const MOV_IMM: u64 = 1;

fn constant(bench: &mut Bench, at: u64) {
    bench.routine(at, |a| {
        a.mov(eax, 100)?;
        a.ret()
    });
}

#[test]
fn a_mapping_replaced_between_runs() {
    let mut bench = Bench::long();
    let target = CODE + 0x3000;
    constant(&mut bench, target);
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.set_label(&mut turn)?;
        a.call(target)?;
        a.out(0x50, eax)?;
        a.jmp(turn)
    });
    assert_eq!(bench.access().data, 100);
    bench.answer(0);
    bench.write(0x20_0000, &bench.bytes(target, 0x1000));
    bench.write(0x20_0000 + MOV_IMM, &[55]);
    bench.machine.map(target, 0x1000, Kind::Ram, 0x20_0000).expect("aligned");
    assert_eq!(bench.access().data, 55);
}

#[test]
fn the_tail_of_an_instruction_on_the_next_page() {
    let mut bench = Bench::long();
    // The immediate's upper two bytes lie on the second page.
    let at = CODE + 0x1000 - 3;
    bench.routine(at, |a| {
        a.mov(eax, 100)?;
        a.ret()
    });
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.mov(ecx, 5)?;
        a.set_label(&mut turn)?;
        a.call(at)?;
        a.add(r8d, eax)?;
        a.add(word_ptr(r14), 1)?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    bench.set_reg(14, CODE + 0x1000);
    bench.finish();
    assert_eq!(bench.reg(8), 500 + ((1 + 2 + 3 + 4) << 16));
}

#[test]
fn an_instruction_across_pages_is_decoded_once() {
    let mut bench = Bench::long();
    let at = CODE + 0x1000 - 6;
    bench.routine(at, |a| {
        let mut turn = a.create_label();
        a.mov(ecx, 1000)?;
        a.set_label(&mut turn)?;
        a.lea(rax, ptr(rax + 0x100))?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    bench.set_rip(at);
    bench.finish();
    assert_eq!(bench.reg(RAX), 0x100 * 1000);
    assert!(bench.machine.stats().blocks_decoded < 6);
}

#[test]
fn the_second_page_of_an_instruction_is_mapped_elsewhere() {
    let mut bench = Bench::long();
    let at = CODE + 0x1000 - 3;
    bench.routine(at, |a| {
        a.mov(eax, 100)?;
        a.ret()
    });
    bench.write(0x20_0000, &bench.bytes(CODE + 0x1000, 16));
    bench.write(0x20_0000, &[9]);
    let entry = bench.entry_address(CODE + 0x1000, 12);
    bench.map_page(DATA, entry & !0xfff, page::P | page::W);
    bench.set_reg(14, DATA + entry % 4096);
    bench.program(CODE, |a| {
        a.call(at)?;
        a.mov(r8d, eax)?;
        a.mov(qword_ptr(r14), 0x20_0003)?;
        a.mov(r15, CODE + 0x1000)?;
        a.invlpg(ptr(r15))?;
        a.call(at)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(8), 100);
    assert_eq!(bench.reg(RAX), 100 | 9 << 16);
}

#[test]
fn an_interrupt_frame_over_its_own_handler() {
    // The handler's code lies where the frame is pushed: its first instructions are the eight bytes of RIP.
    for external in [false, true] {
        let mut bench = Bench::long();
        let stack = CODE + 0x4000;
        let handler = stack - 0x28;
        bench.write(handler, &[0xc3]);
        bench.gate(3, handler, 0);
        bench.gate(0x45, handler, 0);
        let program = if external { 0x15_e000 } else { 0x15_dfff };
        bench.program(CODE, |a| {
            // Run the handler's bytes once so that they are decoded.
            a.call(handler)?;
            a.jmp(program)
        });
        bench.routine(program, |a| a.int3());
        bench.set_reg(RSP, stack);
        bench.machine.run(0, 3, u64::MAX);
        assert_eq!(bench.rip(), program);
        // RIP as pushed, 00 e0 15 00 ..., is ADD AL, AH.
        bench.set_reg(RAX, 0x0203);
        if external {
            bench.set_flags(cpu::flags::bit::IF);
            let core = bench.core();
            assert!(core.lapic.accept_fixed(0x45, lapic::Trigger::Edge));
        } else {
            bench.machine.run(0, 1, u64::MAX);
        }
        bench.machine.run(0, 1, u64::MAX);
        assert_eq!(bench.u64(handler), 0x15_e000);
        assert_eq!((bench.reg(RAX), bench.rip()), (0x0205, handler + 2), "external: {external}");
    }
}

#[test]
fn accessed_bits_that_the_fetch_itself_sets() {
    // A page table that maps itself at PLACE: its first entry, 03 00 20 00 ..., is ADD EAX, [RAX], and with the
    // accessed bit, 23 00 20 00 ..., AND EAX, [RAX].
    const PLACE: u64 = 0x6000_0000;
    let table = 0x20_0000;
    let mut bench = Bench::long();
    let above = bench.entry_address(PLACE, 21);
    bench.write_u64(above, table | page::P | page::W);
    bench.write_u64(table, table | page::P | page::W);
    bench.map_page(DATA, table, page::P | page::W);
    bench.write_u64(DATA + 0x1000, 0x0f);
    for (rip, expected) in [(DATA, DATA + 0x100f), (PLACE, (DATA + 0x1000) & 0x0f)] {
        bench.set_reg(RAX, DATA + 0x1000);
        bench.set_rip(rip);
        bench.machine.run(0, 1, u64::MAX);
        assert_eq!((bench.rip(), bench.reg(RAX)), (rip + 2, expected));
    }
}

#[test]
fn accessed_bits_set_among_code_by_data_accesses() {
    // The page table's page also holds code: the entry of DATA, 03 00 18 00 ..., is ADD EAX, [RAX], then AND.
    let mut bench = Bench::long();
    let entry = bench.entry_address(DATA, 12);
    let code = DATA + 0x1000 + entry % 4096;
    bench.map_page(DATA + 0x1000, entry & !0xfff, page::P | page::W);
    bench.write_u64(entry, DATA | page::P | page::W);
    bench.write_u64(DATA, 0x0f);
    for expected in [DATA + 0x0f, DATA & 0x0f] {
        bench.set_reg(RAX, DATA);
        bench.set_rip(code);
        bench.machine.run(0, 1, u64::MAX);
        assert_eq!((bench.rip(), bench.reg(RAX)), (code + 2, expected));
    }
    assert_eq!(bench.u64(entry) & 0xff, 0x23);
}
