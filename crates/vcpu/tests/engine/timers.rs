//! The Local APIC's timer interrupts at the exact instruction, wakes HLT at the exact time, and divides strings.

use cpu::GuestClock;
use cpu::flags::bit;
use iced_x86::code_asm::*;
use vcpu::Exit;

use crate::machine::*;

const EOI: u64 = 0xb0;
const LVT_TIMER: u64 = 0x320;
const INITIAL_COUNT: u64 = 0x380;
const DIVIDE: u64 = 0x3e0;
const TSC_DEADLINE: u32 = 0x6e0;
const VECTOR: u8 = 0x45;

/// Sets the timer's LVT entry to `VECTOR` with `mode` bits and divides by one, from Rust.
fn timer(bench: &mut Bench, mode: u32) {
    let core = bench.core();
    let now = core.now();
    core.lapic.write_mmio(LVT_TIMER as u16, 4, u64::from(mode << 17 | u32::from(VECTOR)), now);
    core.lapic.write_mmio(DIVIDE as u16, 4, 0b1011, now);
}

/// Arms the TSC deadline at the value in R12 (below 2^32).
fn arm(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    a.mov(ecx, TSC_DEADLINE)?;
    a.mov(eax, r12d)?;
    a.xor(edx, edx)?;
    a.wrmsr()
}

#[test]
fn a_tsc_deadline_interrupts_at_the_first_instruction_past_it() {
    for deadline in [400u64, 401, 419, 420, 421, 12_345] {
        for quantum in [1, 7, 1 << 20] {
            let mut bench = Bench::long();
            bench.quantum = quantum;
            timer(&mut bench, 2);
            bench.set_flags(bit::IF);
            bench.set_reg(12, deadline);
            bench.program(CODE, |a| {
                let mut turn = a.create_label();
                arm(a)?;
                a.set_label(&mut turn)?;
                for _ in 0..9 {
                    a.nop()?;
                }
                a.jmp(turn)
            });
            assert_eq!(bench.trap().vector, VECTOR);
            // An instruction is 10 ns, 20 ticks of the TSC.
            assert_eq!(bench.machine.instructions(), deadline.div_ceil(20), "deadline {deadline}, quantum {quantum}");
        }
    }
}

#[test]
fn a_deadline_in_the_past_interrupts_at_once() {
    let mut bench = Bench::long();
    timer(&mut bench, 2);
    bench.set_flags(bit::IF);
    bench.set_reg(12, 1);
    let end = bench.program(CODE, |a| {
        arm(a)?;
        a.nop()
    });
    assert_eq!(bench.trap().rip, end - 1);
}

#[test]
fn hlt_says_when_the_timer_wakes_it() {
    // (LVT mode, program that arms it, the time it goes off)
    let deadline = 1_000_001;
    let one_shot_ns = |now: u64| (now / 40 + 250) * 40;
    for mode in [2, 0] {
        let mut bench = Bench::long();
        timer(&mut bench, mode);
        bench.set_reg(12, deadline);
        bench.set_reg(RBX, LAPIC);
        let end = bench.program(CODE, |a| {
            if mode == 2 {
                arm(a)?;
            } else {
                a.mov(dword_ptr(rbx + INITIAL_COUNT), 250)?;
            }
            a.sti()?;
            a.hlt()?;
            a.nop()
        });
        let expected = if mode == 2 { GuestClock::ns_of_tsc(deadline) } else { one_shot_ns(0) };
        let Exit::Hlt { wake_ns } = bench.exit() else { panic!("no HLT") };
        assert_eq!(wake_ns, Some(expected));
        // Looked at again too early it sleeps on.
        bench.machine.anchor_clock(expected - 1, 10_000);
        assert_eq!(bench.exit(), Exit::Hlt { wake_ns });
        let count = bench.machine.instructions();
        bench.machine.anchor_clock(expected, 10_000);
        assert_eq!(bench.machine.guest_ns(), expected);
        let trap = bench.trap();
        assert_eq!((trap.vector, trap.rip), (VECTOR, end - 1), "the interrupt returns behind HLT");
        assert_eq!(bench.machine.instructions(), count);
    }
}

#[test]
fn a_periodic_timer_keeps_its_phase() {
    let handler = 0xc000;
    let run = |quantum: u32| {
        let mut bench = Bench::long();
        timer(&mut bench, 1);
        bench.set_flags(bit::IF);
        bench.set_reg(RBX, LAPIC);
        // The handler writes the TSC to [R13], then ends the interrupt.
        bench.routine(handler, |a| {
            a.push(rax)?;
            a.push(rdx)?;
            a.rdtsc()?;
            a.mov(dword_ptr(r13), eax)?;
            a.add(r13, 4)?;
            a.mov(dword_ptr(rbx + EOI), 0)?;
            a.pop(rdx)?;
            a.pop(rax)?;
            a.iretq()
        });
        bench.gate(VECTOR, handler, 0);
        bench.set_reg(13, DATA);
        bench.set_reg(RDI, DATA + 0x1000);
        bench.program(CODE, |a| {
            let mut turn = a.create_label();
            a.mov(dword_ptr(rbx + INITIAL_COUNT), 25)?;
            a.set_label(&mut turn)?;
            a.inc(rax)?;
            a.mov(ecx, 77)?;
            a.mov(rdi, DATA + 0x1000)?;
            a.rep().stosb()?;
            a.jmp(turn)
        });
        while bench.machine.instructions() < 5000 {
            let left = 5000 - bench.machine.instructions();
            assert_eq!(bench.machine.run(0, quantum.min(left as u32), u64::MAX), Exit::Budget);
        }
        bench
    };
    let mut whole = run(1 << 20);
    let expected = whole.everything();
    for quantum in [1, 2, 3, 7, 100] {
        assert!(run(quantum).everything() == expected, "quantum {quantum}");
    }
    // Every 1000 ns = 2000 ticks; the third instruction of the handler reads the TSC.
    let times = (0..49).map(|index| whole.u64(DATA + 4 * index) as u32).collect::<Vec<_>>();
    assert_eq!(times, (1..50).map(|period| period * 2000 + 40).collect::<Vec<u32>>());
}

#[test]
fn an_interrupted_string_goes_on_where_it_was() {
    let mut bench = Bench::long();
    timer(&mut bench, 2);
    bench.set_flags(bit::IF);
    bench.set_reg(12, 20 * 300);
    bench.set_reg(RAX, 0x5a);
    let end = bench.program(CODE, |a| {
        arm(a)?;
        a.mov(ecx, 1000)?;
        a.mov(rdi, DATA)?;
        a.rep().stosb()?;
        a.out(i32::from(DONE), al)
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (VECTOR, end - 4), "at REP STOSB");
    assert_eq!(bench.machine.instructions(), 300);
    assert_eq!(bench.reg(RCX), 1000 - (300 - 6));
    assert_eq!(bench.reg(RDI), DATA + (300 - 6));
    let core = bench.core();
    core.lapic.eoi();
    bench.finish();
    assert_eq!(bench.machine.instructions(), 6 + 1000 + 2, "and the handler's OUT and IRET");
    assert_eq!(bench.reg(RDI), DATA + 1000);
}

#[test]
fn a_deadline_follows_a_tsc_that_the_guest_has_set() {
    // The clock stands at 1 ms: 2,000,000 ticks. (TSC set then, deadline, the time it goes off)
    let cases = [
        (0, 2_000, Some(1_001_000)),
        (0, u64::MAX, Some(u64::MAX)),
        (1 << 63, (1 << 63) + 2_000, Some(1_001_000)),
        (u64::MAX - 3_999, u64::MAX - 1_999, Some(1_001_000)),
        (5_000, 4_999, None),
    ];
    for (tsc, deadline, expected) in cases {
        let mut bench = Bench::long();
        timer(&mut bench, 2);
        bench.machine.anchor_clock(1_000_000, 10_000);
        let core = bench.core();
        core.cpu.msr.tsc_adjust = u64::wrapping_sub(tsc, 2_000_000);
        let now = core.now();
        assert_eq!(now.tsc, tsc);
        core.lapic.write_msr(TSC_DEADLINE, deadline, now).expect("the deadline can be written");
        assert_eq!(core.lapic.next_deadline_ns(core), expected, "deadline {deadline:#x} at TSC {tsc:#x}");
    }
}
