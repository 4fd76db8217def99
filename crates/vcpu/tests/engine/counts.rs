//! The instruction count is exact, and how a run is cut into quanta changes nothing.

use iced_x86::code_asm::*;
use interp::device::Access;
use vcpu::Exit;

use crate::machine::*;

/// Instructions retired when the program asks for its end.
fn count(bench: &mut Bench) -> u64 {
    let before = bench.machine.instructions();
    bench.finish();
    bench.machine.instructions() - before
}

#[test]
fn straight_code_counts_one_each() {
    for mut bench in [Bench::long(), Bench::protected()] {
        bench.program(CODE, |a| {
            for _ in 0..100 {
                a.nop()?;
                a.add(eax, 1)?;
            }
            a.out(i32::from(DONE), al)
        });
        assert_eq!(count(&mut bench), 200);
        assert_eq!(bench.reg(RAX), 100);
        assert_eq!(bench.machine.guest_ns(), 2000, "10 ns an instruction");
    }
    let mut bench = Bench::real();
    bench.program(0x1000, |a| {
        a.mov(cx, 5)?;
        a.dec(cx)?;
        a.out(i32::from(DONE), al)
    });
    assert_eq!(count(&mut bench), 2);
}

#[test]
fn loops_count_every_turn() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.mov(ecx, 1000)?;
        a.set_label(&mut turn)?;
        a.lea(rax, ptr(rax + 3))?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    assert_eq!(count(&mut bench), 1 + 3 * 1000);
}

#[test]
fn repeated_strings_count_each_iteration() {
    // (rcx, instructions of the string instruction)
    for (iterations, expected) in [(0u64, 1), (1, 1), (2, 2), (5000, 5000)] {
        let mut bench = Bench::long();
        bench.program(CODE, |a| {
            a.rep().movsb()?;
            a.out(i32::from(DONE), al)
        });
        bench.set_reg(RCX, iterations);
        bench.set_reg(RSI, DATA + 0x3f0);
        bench.set_reg(RDI, DATA + 0x1_0000);
        assert_eq!(count(&mut bench), expected, "rep movsb with rcx = {iterations}");
        assert_eq!(bench.reg(RCX), 0);
        assert_eq!(bench.reg(RSI), DATA + 0x3f0 + iterations);
    }
    let mut bench = Bench::long();
    bench.write(DATA, b"equal up to here");
    bench.write(DATA + 0x100, b"equal up to Here");
    bench.program(CODE, |a| {
        a.repe().cmpsb()?;
        a.out(i32::from(DONE), al)
    });
    bench.set_reg(RCX, 16);
    bench.set_reg(RSI, DATA);
    bench.set_reg(RDI, DATA + 0x100);
    assert_eq!(count(&mut bench), 13, "12 equal bytes and the one that differs");
    assert_eq!(bench.reg(RCX), 3);
}

#[test]
fn a_faulting_instruction_is_not_counted() {
    let mut bench = Bench::long();
    let end = bench.program(CODE, |a| {
        a.nop()?;
        a.nop()?;
        a.ud2()
    });
    assert_eq!(bench.trap().rip, end - 2);
    assert_eq!(bench.machine.instructions(), 2);
}

#[test]
fn a_repeated_string_that_faults_keeps_its_finished_iterations() {
    let mut bench = Bench::long();
    let unmapped = DATA + 0x2000;
    let at = bench.entry_address(unmapped, 12);
    bench.write_u64(at, 0);
    bench.program(CODE, |a| a.rep().stosd());
    bench.set_reg(RCX, 5000);
    bench.set_reg(RDI, DATA + 2);
    let trap = bench.trap();
    // 2047 dwords fit below the page that is missing; the next begins below it and reaches into it.
    assert_eq!((trap.vector, trap.error, trap.cr2, trap.rip), (14, Some(2), unmapped, CODE));
    assert_eq!(bench.reg(RCX), 5000 - 2047);
    assert_eq!(bench.reg(RDI), DATA + 2 + 4 * 2047);
    assert_eq!(bench.machine.instructions(), 2047);
}

#[test]
fn the_tsc_is_exact_within_a_block() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.rdtsc()?;
        a.mov(ebx, eax)?;
        for _ in 0..10 {
            a.nop()?;
        }
        a.rdtsc()?;
        a.sub(eax, ebx)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(RAX), 12 * 20, "12 instructions of 10 ns at 2 GHz");
}

/// A program with loops, strings, calls, devices, exceptions and code that changes itself.
fn varied(bench: &mut Bench) {
    bench.program(CODE, |a| {
        let (mut turn, mut patched, mut routine, mut past) = (a.create_label(), a.create_label(), a.create_label(), a.create_label());
        a.mov(ebp, 6)?;
        a.set_label(&mut turn)?;
        a.mov(rsi, CODE)?;
        a.mov(rdi, DATA)?;
        a.mov(ecx, 100)?;
        a.rep().movsb()?;
        a.mov(rdi, DATA)?;
        a.mov(rsi, CODE)?;
        a.mov(ecx, 90)?;
        a.repe().cmpsb()?;
        a.call(routine)?;
        a.mov(rbx, DEVICE)?;
        a.adc(dword_ptr(rbx + 4), eax)?;
        a.in_(al, 0x40)?;
        a.add(r9d, eax)?;
        a.rdtsc()?;
        a.xor(r10, rax)?;
        a.int3()?;
        a.lea(r11, dword_ptr(patched))?;
        a.add(dword_ptr(r11 + 2), 5)?;
        a.set_label(&mut patched)?;
        a.add(r8d, 0x1000)?;
        a.movsb()?;
        a.ud2()?;
        a.out(0x50, al)?;
        a.dec(ebp)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)?;
        a.set_label(&mut routine)?;
        a.push(rcx)?;
        a.mov(ecx, 3)?;
        let mut inner = a.create_label();
        a.set_label(&mut inner)?;
        a.add(eax, ecx)?;
        a.loop_(inner)?;
        a.pop(rcx)?;
        a.jmp(past)?;
        a.int3()?;
        a.set_label(&mut past)?;
        a.ret()
    });
}

/// Runs [`varied`], letting its handlers skip the UD2, and returns the exits.
fn run_varied(bench: &mut Bench) -> Vec<Access> {
    // The #UD handler returns past the two bytes of UD2.
    bench.routine(0xc000, |a| {
        a.add(qword_ptr(rsp), 2)?;
        a.iretq()
    });
    bench.gate(6, 0xc000, 0);
    varied(bench);
    let mut log = Vec::new();
    loop {
        let access = bench.access();
        log.push(access);
        if access.address == u64::from(DONE) {
            return log;
        }
        bench.answer(log.len() as u64 * 0x1234_5671);
    }
}

#[test]
fn quanta_of_every_size_give_one_result() {
    let mut whole = Bench::long();
    let expected_log = run_varied(&mut whole);
    assert!(expected_log.len() > 20);
    let expected = whole.everything();
    assert_eq!(whole.machine.stats().exceptions_delivered, 6);
    for quantum in 1..=7 {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        assert_eq!(run_varied(&mut bench), expected_log, "quantum {quantum}");
        assert!(bench.everything() == expected, "quantum {quantum}: {:?}\n instead of {:?}", bench.registers(), expected.0);
    }
}

#[test]
fn a_budget_exit_comes_after_exactly_the_quantum() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.set_label(&mut turn)?;
        for _ in 0..5 {
            a.inc(rax)?;
        }
        a.mov(rdi, DATA)?;
        a.mov(ecx, 33)?;
        a.rep().stosb()?;
        a.jmp(turn)
    });
    let mut expected = 0;
    for quantum in [1, 2, 3, 10, 17, 1000, 1, 40, 41, 32_768] {
        assert_eq!(bench.machine.run(0, quantum, u64::MAX), Exit::Budget);
        expected += u64::from(quantum);
        assert_eq!(bench.machine.instructions(), expected);
    }
}

#[test]
fn a_deadline_ends_the_run_at_the_first_instruction_past_it() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.set_label(&mut turn)?;
        a.inc(rax)?;
        a.jmp(turn)
    });
    assert_eq!(bench.machine.run(0, 1_000_000, 12_345), Exit::Budget);
    assert_eq!(bench.machine.instructions(), 1235);
    assert_eq!(bench.machine.guest_ns(), 12_350);
}

#[test]
fn a_kick_returns_before_the_next_instruction() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.nop()?;
        a.out(i32::from(DONE), al)
    });
    bench.machine.kick();
    assert_eq!(bench.machine.run(0, 100, u64::MAX), Exit::Kick);
    assert_eq!(bench.machine.instructions(), 0);
    bench.finish();
    assert_eq!(bench.machine.instructions(), 1);
}
