//! Interrupts: taken at the exact instruction, held off by shadows, flags and priorities.

use cpu::flags::bit;
use iced_x86::code_asm::*;
use lapic::{Delivery, Destination, DestinationMode, DestinationWidth, Message, Trigger};
use vcpu::Exit;

use crate::machine::*;

const EOI: u64 = 0xb0;
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
