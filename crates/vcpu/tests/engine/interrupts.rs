//! Interrupts: taken at the exact instruction, held off by shadows, flags and priorities.

use cpu::GuestClock;
use cpu::flags::bit;
use iced_x86::code_asm::*;
use lapic::{Delivery, Destination, DestinationMode, DestinationWidth, Message, Trigger};
use vcpu::Exit;

use crate::machine::*;

const EOI: u64 = 0xb0;
const LVT_TIMER: u64 = 0x320;
const INITIAL_COUNT: u64 = 0x380;
const DIVIDE: u64 = 0x3e0;
const TSC_DEADLINE: u32 = 0x6e0;
const VECTOR: u8 = 0x45;

/// Sends a fixed interrupt as a device does.
fn send(bench: &mut Bench, vector: u8, trigger: Trigger) {
    let destination = Destination { id: 0, mode: DestinationMode::Physical, width: DestinationWidth::Bits8 };
    assert!(bench.machine.deliver(Message { destination, delivery: Delivery::Fixed(vector), trigger }));
}

/// Runs one instruction.
fn step(bench: &mut Bench) {
    assert_eq!(bench.machine.run(0, 1, u64::MAX), Exit::Budget);
}

/// A program of no-ops that spins at its end.
fn no_ops(bench: &mut Bench) {
    bench.program(CODE, |a| {
        let mut turn = a.create_label();
        a.set_label(&mut turn)?;
        for _ in 0..9 {
            a.nop()?;
        }
        a.jmp(turn)
    });
}

#[test]
fn sti_holds_interrupts_off_for_one_instruction() {
    for quantum in [1, 2, 1000] {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        bench.program(CODE, |a| {
            a.nop()?;
            a.sti()?;
            a.nop()?;
            a.nop()
        });
        send(&mut bench, VECTOR, Trigger::Edge);
        let trap = bench.trap();
        assert_eq!((trap.vector, trap.rip), (VECTOR, CODE + 3));
        assert_ne!(trap.rflags & bit::IF, 0);
        assert_eq!(bench.core().cpu.flags.get() & bit::IF, 0);
    }
}

#[test]
fn sti_with_interrupts_already_on_holds_nothing_off() {
    let mut bench = Bench::long();
    bench.set_flags(bit::IF);
    bench.program(CODE, |a| {
        a.sti()?;
        a.nop()
    });
    step(&mut bench);
    send(&mut bench, VECTOR, Trigger::Edge);
    assert_eq!(bench.trap().rip, CODE + 1);
}

#[test]
fn loading_ss_holds_interrupts_and_nmis_off_for_one_instruction() {
    for nmi in [false, true] {
        let mut bench = Bench::long();
        bench.set_flags(bit::IF);
        bench.set_reg(RAX, u64::from(DATA_SELECTOR));
        bench.program(CODE, |a| {
            a.mov(ss, eax)?;
            a.mov(rsp, STACK)?;
            a.nop()
        });
        step(&mut bench);
        let rip = bench.rip();
        if nmi {
            bench.machine.nmi(0);
        } else {
            send(&mut bench, VECTOR, Trigger::Edge);
        }
        let trap = bench.trap();
        assert!(trap.rip > rip, "after the load of RSP");
        assert_eq!(trap.vector, if nmi { 2 } else { VECTOR });
    }
}

#[test]
fn popf_and_iret_open_the_window_at_once() {
    let mut bench = Bench::long();
    let end = bench.program(CODE, |a| {
        a.push(bit::IF as i32)?;
        a.popfq()?;
        a.nop()
    });
    send(&mut bench, VECTOR, Trigger::Edge);
    assert_eq!(bench.trap().rip, end - 1);
}

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
fn an_nmi_blocks_others_until_iret() {
    let mut bench = Bench::long();
    no_ops(&mut bench);
    step(&mut bench);
    bench.machine.nmi(0);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (2, CODE + 1));
    bench.machine.nmi(0);
    // OUT completes, then IRET, then the second one.
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (2, CODE + 1));
    assert_eq!(bench.machine.stats().interrupts_delivered, 2);
    assert_eq!(bench.machine.instructions(), 1 + 2);
}

#[test]
fn an_nmi_wakes_a_processor_with_interrupts_off() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.hlt()?;
        a.nop()
    });
    assert_eq!(bench.exit(), Exit::Hlt { wake_ns: None });
    send(&mut bench, VECTOR, Trigger::Edge);
    assert_eq!(bench.exit(), Exit::Hlt { wake_ns: None }, "IF is clear");
    bench.machine.nmi(0);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (2, CODE + 1));
}

#[test]
fn the_8259_is_asked_for_its_vector() {
    let mut bench = Bench::long();
    no_ops(&mut bench);
    bench.machine.set_intr(0, true);
    step(&mut bench);
    bench.set_flags(bit::IF);
    assert_eq!(bench.exit(), Exit::IntAck);
    assert!(bench.machine.is_waiting(0));
    bench.machine.set_intr(0, false);
    // What comes meanwhile waits.
    bench.machine.nmi(0);
    bench.answer(0x48);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (2, 0xb000 + 0x48 * 16), "the NMI interrupts the handler of the 8259's vector");
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (0x48, CODE + 1));
    assert_eq!(bench.machine.stats().exits[Exit::IntAck.kind()], 1);
}

#[test]
fn only_level_triggered_vectors_exit_at_their_end() {
    for trigger in [Trigger::Edge, Trigger::Level] {
        let mut bench = Bench::long();
        bench.set_flags(bit::IF);
        bench.set_reg(RBX, LAPIC);
        no_ops(&mut bench);
        bench.routine(0xc000, |a| {
            a.mov(dword_ptr(rbx + EOI), 0)?;
            a.out(i32::from(DONE), al)
        });
        bench.gate(VECTOR, 0xc000, 0);
        send(&mut bench, VECTOR, trigger);
        if trigger == Trigger::Level {
            assert_eq!(bench.exit(), Exit::Eoi(VECTOR));
            assert_eq!(bench.machine.instructions(), 1, "right after the write");
        }
        bench.finish();
    }
}

#[test]
fn cr8_holds_back_lower_priorities() {
    let mut bench = Bench::long();
    bench.set_flags(bit::IF);
    let end = bench.program(CODE, |a| {
        a.mov(eax, u32::from(VECTOR >> 4))?;
        a.mov(cr8, rax)?;
        a.out(0x50, al)?;
        a.nop()?;
        a.dec(eax)?;
        a.mov(cr8, rax)?;
        a.nop()
    });
    bench.access();
    bench.answer(0);
    send(&mut bench, VECTOR, Trigger::Edge);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (VECTOR, end - 1), "as soon as CR8 allows");
    assert_eq!(bench.registers().cr8, u64::from(VECTOR >> 4) - 1);
}

#[test]
fn higher_priorities_interrupt_lower_ones_and_not_the_other_way() {
    let mut bench = Bench::long();
    bench.set_flags(bit::IF);
    no_ops(&mut bench);
    bench.routine(0xc000, |a| {
        a.sti()?;
        a.nop()?;
        a.nop()?;
        a.out(i32::from(DONE), al)
    });
    bench.gate(0x35, 0xc000, 0);
    send(&mut bench, 0x35, Trigger::Edge);
    step(&mut bench);
    send(&mut bench, 0x25, Trigger::Edge);
    send(&mut bench, VECTOR, Trigger::Edge);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (VECTOR, 0xc002));
    bench.core().lapic.eoi();
    // The lower one waits for the end of the middle one.
    bench.finish();
}

#[test]
fn an_x2apic_self_ipi() {
    let mut bench = Bench::long();
    bench.set_flags(bit::IF);
    let end = bench.program(CODE, |a| {
        a.mov(ecx, 0x1b)?;
        a.rdmsr()?;
        a.or(eax, 0xc00)?;
        a.wrmsr()?;
        a.mov(ecx, 0x83f)?;
        a.mov(eax, u32::from(VECTOR))?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.nop()
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (VECTOR, end - 1));
}

#[test]
fn real_mode_interrupts() {
    let mut bench = Bench::real();
    bench.set_flags(bit::IF);
    bench.program(0x1000, |a| {
        a.nop()?;
        a.nop()
    });
    step(&mut bench);
    bench.machine.set_intr(0, true);
    assert_eq!(bench.exit(), Exit::IntAck);
    bench.machine.set_intr(0, false);
    bench.answer(8);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip, trap.error), (8, 0x1001, None));
}
