//! Exceptions: error codes, the double fault, shutdown, and the ends of segments.

use cpu::flags::bit;
use cpu::segment::{self, Segment};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use vcpu::Exit;

use crate::machine::*;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const NON_CANONICAL: u64 = 0x8000_0000_0000;

#[test]
fn vectors_and_error_codes() {
    let cases: [(Program, u8, Option<u64>); 14] = [
        (|a| a.div(ecx), 0, None),
        (|a| a.idiv(rcx), 0, None),
        (|a| a.ud2(), 6, None),
        (|a| a.db(&[0xf0, 0x90]), 6, None),
        (|a| a.db(&[0x66; 16]), 13, Some(0)),
        (|a| a.mov(al, byte_ptr(rbx)), 13, Some(0)),
        (|a| a.mov(rax, qword_ptr(rsp + rbx)), 12, Some(0)),
        (|a| a.jmp(rbx), 13, Some(0)),
        (|a| a.mov(ds, esi), 13, Some(0x1230)),
        (|a| a.mov(ss, ecx), 13, Some(0)),
        (|a| a.ltr(cx), 13, Some(0)),
        (|a| a.wrmsr(), 13, Some(0)),
        (|a| a.int(0x70), 13, Some(0x70 * 8 + 2)),
        (|a| a.mov(cr0, rcx), 13, Some(0)),
    ];
    for (index, (program, vector, error)) in cases.into_iter().enumerate() {
        for quantum in [1, 1000] {
            let mut bench = Bench::long();
            bench.quantum = quantum;
            bench.set_reg(RBX, NON_CANONICAL);
            bench.set_reg(RSI, 0x1230);
            // For the stack case RSP + RBX is not canonical either. The null SS of level 3 is for `mov ss, ecx`.
            bench.set_reg(RCX, if index == 9 { 3 } else { 0 });
            bench.program(CODE, |a| {
                a.nop()?;
                program(a)
            });
            if index == 13 {
                // Paging without protection.
                bench.set_reg(RCX, 1 << 31);
            }
            let trap = bench.trap();
            assert_eq!((trap.vector, trap.error, trap.rip), (vector, error, CODE + 1), "case {index}");
            assert_eq!(bench.machine.instructions(), 1, "case {index}");
            assert_eq!(bench.machine.stats().exceptions_delivered, 1);
        }
    }
}

#[test]
fn faults_push_rf_and_traps_do_not() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| a.ud2());
    assert_ne!(bench.trap().rflags & bit::RF, 0);
    bench.program(CODE + 0x100, |a| a.int3());
    let trap = bench.trap();
    assert_eq!((trap.rflags & bit::RF, trap.rip), (0, CODE + 0x101));
}

#[test]
fn a_fault_in_the_middle_of_a_block_has_the_flags_from_before_it() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.mov(eax, -1)?;
        a.add(eax, 1)?;
        a.adc(eax, dword_ptr(rbx))
    });
    bench.set_reg(RBX, NON_CANONICAL);
    let trap = bench.trap();
    assert_eq!(trap.rflags & (bit::CF | bit::ZF | bit::OF), bit::CF | bit::ZF);
    assert_eq!(bench.reg(RAX), 0);
}

#[test]
fn a_contributory_fault_during_another_is_a_double_fault() {
    let mut bench = Bench::long();
    // The gate of #GP is no gate.
    bench.write_u64(IDT + 13 * 16, 0);
    bench.set_reg(RBX, NON_CANONICAL);
    bench.program(CODE, |a| a.mov(al, byte_ptr(rbx)));
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip), (8, Some(0), CODE));
}

#[test]
fn a_benign_exception_whose_delivery_faults_is_followed_by_that_fault() {
    let mut bench = Bench::long();
    // #UD's gate is not present.
    let gate = bench.u64(IDT + 6 * 16);
    bench.write_u64(IDT + 6 * 16, gate & !(0x8000 << 32));
    bench.program(CODE, |a| a.ud2());
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip), (11, Some(6 * 8 + 2 + 1), CODE), "#NP with the gate, EXT");
}

#[test]
fn a_page_fault_without_a_stack_is_a_double_fault_on_its_own_stack() {
    let mut bench = Bench::long();
    bench.gate(8, 0xb000 + 8 * 16, 1);
    bench.set_reg(RSP, 0x5000_0800);
    bench.program(CODE, |a| a.push(rax));
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip), (8, Some(0), CODE));
    assert_eq!(trap.cr2 & !0xfff, 0x5000_0000);
    assert_eq!(bench.reg(RSP), IST1_STACK - 48);
    assert_eq!(bench.u64(IST1_STACK - 16), 0x5000_0800, "the frame holds the broken stack pointer");
}

#[test]
fn a_triple_fault_shuts_down_with_the_registers_of_the_fault() {
    for mut bench in [Bench::long(), Bench::protected()] {
        let end = bench.program(CODE, |a| {
            a.mov(eax, 0x1234)?;
            a.ud2()
        });
        bench.core().cpu.idtr.limit = 0;
        let stack = bench.reg(RSP);
        // Above the page tables, whose accessed bits are set.
        let ram = bench.bytes(0x4_0000, 0x20_0000);
        assert_eq!(bench.exit(), Exit::Shutdown);
        assert_eq!((bench.rip(), bench.reg(RAX), bench.reg(RSP)), (end - 2, 0x1234, stack));
        assert_eq!(bench.machine.instructions(), 1);
        assert!(bench.bytes(0x4_0000, 0x20_0000) == ram, "failed deliveries write nothing");
        assert_eq!(bench.exit(), Exit::Shutdown);
    }
}

#[test]
fn exceptions_without_end_return_to_the_caller() {
    let mut bench = Bench::long();
    // The handler of #UD is itself undefined, on a stack that starts anew each time.
    bench.program(CODE, |a| a.ud2());
    bench.gate(6, CODE, 1);
    for _ in 0..3 {
        assert_eq!(bench.machine.run(0, 1000, u64::MAX), Exit::Budget);
        assert_eq!((bench.rip(), bench.machine.instructions()), (CODE, 0));
    }
}

#[test]
fn many_exceptions_with_progress_are_no_loop() {
    let mut bench = Bench::long();
    bench.routine(0xc000, |a| {
        a.add(qword_ptr(rsp), 2)?;
        a.iretq()
    });
    bench.gate(6, 0xc000, 0);
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.mov(ecx, 5000)?;
        a.set_label(&mut turn)?;
        a.ud2()?;
        a.dec(ecx)?;
        a.jnz(turn)?;
        a.out(i32::from(DONE), al)
    });
    assert!(matches!(bench.machine.run(0, 1_000_000, u64::MAX), Exit::Io(_)));
    assert_eq!(bench.machine.stats().exceptions_delivered, 5000);
}

#[test]
fn exceptions_of_real_and_protected_mode() {
    let mut bench = Bench::real();
    bench.program(0x1000, |a| a.div(cx));
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip, trap.cs), (0, None, 0x1000, 0));

    let mut bench = Bench::protected();
    bench.core().cpu.seg[segment::DS] = Segment::new(DATA_SELECTOR, 0x1000, 0xfff, 0x4093);
    bench.core().cpu.update_mode();
    bench.write(0x1ffc, &[1, 2, 3, 4]);
    bench.program(CODE, |a| {
        a.mov(eax, dword_ptr(0xffc))?;
        a.mov(eax, dword_ptr(0xffd))
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip), (13, Some(0), CODE + 5));
    assert_eq!(bench.reg(RAX), 0x0403_0201);
}

#[test]
fn an_instruction_beyond_the_code_segment_faults() {
    let mut bench = Bench::protected();
    let end = bench.program(CODE, |a| {
        for _ in 0..4 {
            a.inc(eax)?;
        }
        a.add(eax, 0x100)?;
        a.out(i32::from(DONE), al)
    });
    // Once with the whole segment, so that the block is known, then with its end inside each of the instructions.
    bench.finish();
    assert_eq!(bench.reg(RAX), 0x104);
    let limits = [(CODE + 1, CODE + 2, 2u64), (CODE + 3, CODE + 4, 4), (CODE + 6, CODE + 4, 4)];
    for (limit, rip, sum) in limits {
        let cpu = &mut bench.core().cpu;
        cpu.seg[segment::CS].limit = limit as u32;
        cpu.update_mode();
        bench.set_reg(RAX, 0);
        bench.set_rip(CODE);
        bench.set_reg(RSP, STACK);
        // Handlers run in the same descriptor as ever.
        let trap = bench.trap();
        assert_eq!((trap.vector, trap.error, trap.rip), (13, Some(0), rip), "limit {limit:#x}");
        assert_eq!(bench.reg(RAX), sum);
    }
    bench.core().cpu.seg[segment::CS].limit = u32::MAX;
    bench.core().cpu.update_mode();
    bench.set_rip(CODE);
    bench.set_reg(RAX, 0);
    bench.finish();
    assert_eq!((bench.reg(RAX), bench.rip()), (0x104, end - 2));
}

#[test]
fn real_mode_code_does_not_run_past_64_kib() {
    let mut bench = Bench::real();
    // CS is not page-aligned, so that the end of the segment lies within a page.
    bench.core().cpu.seg[segment::CS] = Segment::new(0x1234, 0x12340, 0xffff, 0x9b);
    bench.core().cpu.update_mode();
    bench.write(0x12340 + 0xfffc, &[0x40, 0x40, 0x40, 0xb8, 0x11, 0x11]);
    bench.set_rip(0xfffc);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip, trap.cs), (13, 0xffff, 0x1234));
    assert_eq!(bench.reg(RAX), 3);
}
