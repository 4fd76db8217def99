//! The ESR: gathering, latching, rearming, and what is an error.

use crate::bench::*;
use lapic::Trigger;

const SEND_ILLEGAL: u32 = 1 << 5;
const RECEIVE_ILLEGAL: u32 = 1 << 6;
const ILLEGAL_REGISTER: u32 = 1 << 7;

/// What a guest does to read the ESR.
fn errors(bench: &mut Bench) -> u32 {
    bench.write(ESR, 0);
    bench.read(ESR)
}

#[test]
fn errors_show_after_a_write_and_go_with_the_next() {
    let mut bench = Bench::enabled();
    assert!(!bench.apic.accept_fixed(15, Trigger::Edge));
    bench.read(0x40);
    assert_eq!(bench.read(ESR), 0);
    assert_eq!(errors(&mut bench), RECEIVE_ILLEGAL | ILLEGAL_REGISTER);
    assert_eq!(bench.read(ESR), RECEIVE_ILLEGAL | ILLEGAL_REGISTER);
    assert_eq!(errors(&mut bench), 0);
}

#[test]
fn sending_an_illegal_vector_is_an_error_and_sends_nothing() {
    for command in [0x0F, 0x4_000F, 0x8_010F, 0xC_000F] {
        let mut bench = Bench::enabled();
        bench.write(ICR_LOW, command);
        assert_eq!(bench.sent(), []);
        assert_eq!(errors(&mut bench), SEND_ILLEGAL, "{command:#x}");
    }
}

#[test]
fn reserved_registers_are_errors() {
    let mut bench = Bench::enabled();
    for offset in [0x000, 0x010, 0x040, 0x070, 0x290, 0x2E0, 0x3A0, 0x3D0, SELF_IPI, 0x400, 0x7FC, 0xFF0] {
        assert_eq!(bench.read(offset), 0);
        assert_eq!(errors(&mut bench), ILLEGAL_REGISTER, "read of {offset:#x}");
        bench.write(offset, 0);
        assert_eq!(errors(&mut bench), ILLEGAL_REGISTER, "write of {offset:#x}");
    }
}

#[test]
fn read_only_and_write_only_registers_are_no_errors() {
    let mut bench = Bench::enabled();
    for offset in [ID, VERSION, APR, PPR, 0xC0, ISR, TMR, IRR, CURRENT_COUNT] {
        let before = bench.read(offset);
        bench.write(offset, u32::MAX);
        assert_eq!(bench.read(offset), before, "{offset:#x}");
    }
    assert_eq!(bench.read(EOI), 0);
    assert_eq!(errors(&mut bench), 0);
}

#[test]
fn the_error_interrupt_fires_once_until_rearmed() {
    let mut bench = Bench::enabled();
    bench.write(LVT_ERROR, 0xE0);
    bench.read(0x40);
    assert_eq!(bench.serve(), Some(0xE0));
    bench.read(0x40);
    assert_eq!(bench.serve(), None);
    bench.write(ESR, 0);
    bench.read(0x40);
    assert_eq!(bench.serve(), Some(0xE0));
}

#[test]
fn a_masked_error_is_gathered_silently() {
    let mut bench = Bench::enabled();
    bench.write(LVT_ERROR, 0xE0 | LVT_MASKED);
    bench.read(0x40);
    assert_eq!(bench.serve(), None);
    assert_eq!(errors(&mut bench), ILLEGAL_REGISTER);
}

#[test]
fn an_illegal_vector_in_the_error_entry_adds_to_the_errors() {
    let mut bench = Bench::enabled();
    bench.write(LVT_ERROR, 0x05);
    bench.read(0x40);
    assert_eq!(bench.apic.pending_vector(), None);
    assert_eq!(errors(&mut bench), ILLEGAL_REGISTER | RECEIVE_ILLEGAL);
}

#[test]
fn a_timer_with_an_illegal_vector_is_a_receive_error() {
    let mut bench = Bench::enabled();
    bench.write(LVT_TIMER, 0x0F);
    bench.write(INITIAL_COUNT, 1);
    assert!(!bench.pass(1_000));
    assert_eq!(errors(&mut bench), RECEIVE_ILLEGAL);
}

#[test]
fn accesses_of_other_sizes_stay_within_their_register() {
    let mut bench = Bench::enabled();
    let now = at(bench.ns);
    bench.write(LVT_LINT0, 0x1_A7E1);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0, 1, now), 0xE1);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0 + 1, 1, now), 0xA7);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0 + 2, 2, now), 1);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0, 8, now), 0x1_A7E1);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0 + 3, 4, now), 0);
    assert_eq!(bench.apic.read_mmio(LVT_LINT0 + 4, 4, now), 0);
    bench.apic.write_mmio(TPR, 1, 0xFFFF_FF20, now);
    assert_eq!(bench.read(TPR), 0x20);
    bench.apic.write_mmio(LVT_LINT0 + 1, 1, 0x07, now);
    assert_eq!(bench.read(LVT_LINT0), 0x1_07E1);
    bench.apic.write_mmio(TPR, 8, 0xFFFF_FFFF_0000_0030, now);
    assert_eq!((bench.read(TPR), bench.read(APR)), (0x30, 0x30));
    bench.apic.write_mmio(TPR + 4, 4, 0x77, now);
    assert_eq!(bench.read(TPR), 0x30);
    assert_eq!(errors(&mut bench), 0);
}
