//! Code that changes while it runs: whoever writes it, through whatever address, the next instruction is the new one.

use guest_mem::Kind;
use iced_x86::code_asm::*;

use crate::machine::*;

/// Bytes of `mov eax, imm32` before its immediate.
const MOV_IMM: u64 = 1;

#[test]
fn the_next_instruction_of_the_running_block() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let mut next = a.create_label();
        a.lea(rbx, dword_ptr(next))?;
        a.mov(dword_ptr(rbx + MOV_IMM), 0x5555)?;
        a.set_label(&mut next)?;
        a.mov(eax, 0x1111)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(RAX), 0x5555);
    assert_eq!(bench.machine.instructions(), 3);
}

/// A loop that calls a routine five times and between calls changes the constant that it returns, by writing at R14.
/// The constants add up in R8.
fn patch_through(bench: &mut Bench, routine: u64) {
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.mov(ecx, 5)?;
        a.set_label(&mut turn)?;
        a.call(routine)?;
        a.add(r8d, eax)?;
        a.add(dword_ptr(r14), 7)?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(8), 100 + 107 + 114 + 121 + 128);
}

fn constant(bench: &mut Bench, at: u64) {
    bench.routine(at, |a| {
        a.mov(eax, 100)?;
        a.ret()
    });
}

#[test]
fn another_block() {
    let mut bench = Bench::long();
    constant(&mut bench, CODE + 0x3000);
    bench.set_reg(14, CODE + 0x3000 + MOV_IMM);
    patch_through(&mut bench, CODE + 0x3000);
}

#[test]
fn through_another_linear_page() {
    let mut bench = Bench::long();
    constant(&mut bench, CODE + 0x3000);
    bench.map_page(DATA, CODE + 0x3000, page::P | page::W);
    bench.set_reg(14, DATA + MOV_IMM);
    patch_through(&mut bench, CODE + 0x3000);
}

#[test]
fn through_another_physical_page() {
    let mut bench = Bench::long();
    constant(&mut bench, CODE + 0x3000);
    // The physical page at 16 MiB is the same RAM.
    bench.machine.map(0x100_0000, 0x1000, Kind::Ram, CODE + 0x3000).expect("aligned");
    bench.map_page(DATA, 0x100_0000, page::P | page::W);
    bench.set_reg(14, DATA + MOV_IMM);
    patch_through(&mut bench, CODE + 0x3000);
}

#[test]
fn code_that_runs_through_two_addresses() {
    let mut bench = Bench::long();
    constant(&mut bench, CODE + 0x3000);
    bench.map_page(DATA, CODE + 0x3000, page::P | page::W);
    bench.set_reg(14, CODE + 0x3000 + MOV_IMM);
    patch_through(&mut bench, DATA);
}

#[test]
fn devices_write_between_runs() {
    let mut bench = Bench::long();
    let end = bench.program(CODE, |a| {
        for _ in 0..10 {
            a.add(eax, 1)?;
        }
        a.out(i32::from(DONE), al)
    });
    // Stop in the middle of the block, then change what is left of it.
    bench.machine.run(0, 5, u64::MAX);
    assert_eq!(bench.rip(), CODE + 25);
    let length = (end - CODE) as usize;
    let mut rest = assemble(64, CODE + 25, |a| {
        for _ in 0..5 {
            a.add(eax, 0x10)?;
        }
        Ok(())
    });
    rest.truncate(length - 25);
    bench.write(CODE + 25, &rest);
    bench.finish();
    assert_eq!(bench.reg(RAX), 5 + 0x50);
}

#[test]
fn writer_and_code_share_a_page_in_a_hot_loop() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let (mut turn, mut patched) = (a.create_label(), a.create_label());
        a.lea(rbx, dword_ptr(patched))?;
        a.mov(ecx, 20_000)?;
        a.set_label(&mut turn)?;
        a.mov(dword_ptr(rbx + MOV_IMM), ecx)?;
        a.set_label(&mut patched)?;
        a.mov(eax, 0)?;
        a.add(r8, rax)?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(8), 20_000 * 20_001 / 2);
    assert_eq!(bench.machine.instructions(), 2 + 5 * 20_000);
    let stats = bench.machine.stats();
    assert!(stats.blocks_decoded < 4 * 20_000, "a few blocks a turn: {}", stats.blocks_decoded);
}

#[test]
fn data_beside_code_does_not_disturb_it() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.mov(rbx, CODE + 0x800)?;
        a.mov(ecx, 1000)?;
        a.set_label(&mut turn)?;
        a.add(qword_ptr(rbx), rcx)?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.u64(CODE + 0x800), 500_500);
    assert!(bench.machine.stats().blocks_decoded < 10, "granules of the page without code are no code");
}

#[test]
fn a_string_store_over_the_code_behind_it() {
    for quantum in [1, 3, 1 << 20] {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        // 40 INT3 become no-ops.
        let end = bench.program(CODE, |a| {
            a.rep().stosb()?;
            a.db(&[0xcc; 40])?;
            a.out(i32::from(DONE), al)
        });
        bench.set_reg(RAX, 0x90);
        bench.set_reg(RCX, 40);
        bench.set_reg(RDI, end - 2 - 40);
        bench.finish();
        assert_eq!(bench.machine.instructions(), 80);
    }
}

#[test]
fn a_string_store_over_itself() {
    // The store runs backwards over its own two bytes: the iteration that breaks it is its last.
    let mut outcomes = Vec::new();
    for quantum in [1, 2, 5, 1 << 20] {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        bench.program(CODE, |a| {
            a.std()?;
            a.rep().stosb()?;
            a.db(&[0x90; 100])?;
            a.out(i32::from(DONE), al)
        });
        bench.set_reg(RAX, 0x90);
        bench.set_reg(RCX, 100);
        bench.set_reg(RDI, CODE + 30);
        bench.finish();
        assert_eq!(bench.reg(RDI), CODE + 1, "REP STOSB lies at 1 and 2: it is gone after the write to 2");
        outcomes.push(bench.everything());
    }
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_routine_copied_over_one_that_ran() {
    let mut bench = Bench::long();
    let (first, second, place) = (DATA, DATA + 0x100, CODE + 0x2ff0);
    for (at, value) in [(first, 1), (second, 2)] {
        // Long enough to lie on two pages at `place`.
        let bytes = assemble(64, at, |a| {
            a.mov(eax, value)?;
            for _ in 0..6 {
                a.lea(eax, ptr(eax + eax))?;
            }
            a.ret()
        });
        bench.write(at, &bytes);
    }
    bench.program(CODE, |a| {
        for source in [first, second] {
            a.mov(rsi, source)?;
            a.mov(rdi, place)?;
            a.mov(ecx, 64)?;
            a.rep().movsb()?;
            a.call(place)?;
            a.shl(r8, 32)?;
            a.or(r8, rax)?;
        }
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(8), 64 << 32 | 128);
}
