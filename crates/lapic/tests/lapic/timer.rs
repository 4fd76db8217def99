//! One-shot, periodic and TSC-deadline modes. The timer's clock ticks every 40 ns, the TSC 12 times in 5 ns.

use crate::bench::*;
use lapic::MSR_TSC_DEADLINE;

const VECTOR: u32 = 0x40;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;

/// Timer interrupts on, counting every tick, at the edge of a tick.
fn timer(mode: u32) -> Bench {
    let mut bench = Bench::enabled();
    bench.write(LVT_TIMER, VECTOR | mode);
    bench.write(DIVIDE, DIVIDE_BY_1);
    bench
}

#[test]
fn one_shot_counts_down_once() {
    let mut bench = timer(0);
    let start = bench.ns;
    bench.write(INITIAL_COUNT, 100);
    assert_eq!(bench.read(CURRENT_COUNT), 100);
    assert_eq!(bench.deadline(), Some(start + 4_000));
    assert!(!bench.pass(39));
    assert_eq!(bench.read(CURRENT_COUNT), 100);
    assert!(!bench.pass(1));
    assert_eq!(bench.read(CURRENT_COUNT), 99);
    assert!(!bench.pass(3_959));
    assert_eq!(bench.read(CURRENT_COUNT), 1);
    assert!(bench.pass(1));
    assert_eq!(bench.read(CURRENT_COUNT), 0);
    assert_eq!(bench.read(INITIAL_COUNT), 100);
    assert_eq!(bench.serve(), Some(VECTOR as u8));
    assert_eq!(bench.deadline(), None);
    assert!(!bench.pass(1_000_000));
}

#[test]
fn every_divide_value_divides() {
    let encodings = [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)];
    for (encoding, divisor) in encodings {
        let mut bench = timer(0);
        bench.write(DIVIDE, encoding);
        let start = bench.ns;
        bench.write(INITIAL_COUNT, 1_000);
        assert_eq!(bench.deadline(), Some(start + 1_000 * divisor * 40), "divide by {divisor}");
        bench.pass(divisor * 40 * 250);
        assert_eq!(bench.read(CURRENT_COUNT), 750, "divide by {divisor}");
    }
}

#[test]
fn the_divisor_can_change_while_counting() {
    let mut bench = timer(0);
    bench.write(INITIAL_COUNT, 100);
    bench.pass(40 * 60);
    bench.write(DIVIDE, 1);
    assert_eq!(bench.read(CURRENT_COUNT), 40);
    assert_eq!(bench.deadline(), Some(bench.ns + 40 * 40 * 4));
}

#[test]
fn rewriting_the_same_divisor_keeps_the_phase() {
    let mut bench = timer(0);
    bench.write(DIVIDE, 10);
    bench.write(INITIAL_COUNT, 100);
    let deadline = bench.deadline();
    bench.pass(40 * 128 / 2);
    bench.write(DIVIDE, 10);
    assert_eq!(bench.deadline(), deadline);
}

#[test]
fn periodic_repeats_without_drift() {
    let mut bench = timer(PERIODIC);
    let start = bench.ns;
    bench.write(INITIAL_COUNT, 25);
    for period in 1..=1_000 {
        let deadline = bench.deadline().expect("a periodic timer never stops");
        assert_eq!(deadline, start + period * 1_000);
        assert!(!bench.pass(deadline - bench.ns - 1));
        assert!(bench.pass(1));
        assert_eq!(bench.serve(), Some(VECTOR as u8));
    }
}

#[test]
fn a_late_periodic_timer_interrupts_once_and_stays_in_phase() {
    let mut bench = timer(PERIODIC);
    let start = bench.ns;
    bench.write(INITIAL_COUNT, 25);
    assert!(bench.pass(3_600_000_000_000 + 400));
    assert_eq!(bench.serve(), Some(VECTOR as u8));
    assert_eq!(bench.serve(), None);
    assert_eq!(bench.read(CURRENT_COUNT), 15);
    assert_eq!(bench.deadline(), Some(start + 3_600_000_000_000 + 1_000));
}

#[test]
fn a_register_access_sees_the_time_it_is_made_at() {
    let mut bench = timer(PERIODIC);
    bench.write(INITIAL_COUNT, 100);
    bench.ns += 4_000 + 40 * 30;
    assert_eq!(bench.read(CURRENT_COUNT), 70);
    assert_eq!(bench.read(IRR + 0x20), 1, "the interrupt of the first period came before the read");
}

#[test]
fn writing_zero_stops_and_rewriting_restarts() {
    let mut bench = timer(PERIODIC);
    bench.write(INITIAL_COUNT, 100);
    bench.pass(400);
    bench.write(INITIAL_COUNT, 50);
    assert_eq!(bench.deadline(), Some(bench.ns + 2_000));
    bench.write(INITIAL_COUNT, 0);
    assert_eq!((bench.deadline(), bench.read(CURRENT_COUNT)), (None, 0));
    assert!(!bench.pass(1_000_000));
}

#[test]
fn periodic_and_one_shot_change_places_while_counting() {
    let mut bench = timer(PERIODIC);
    bench.write(INITIAL_COUNT, 100);
    bench.pass(400);
    bench.write(LVT_TIMER, VECTOR);
    assert_eq!(bench.read(CURRENT_COUNT), 90);
    assert!(bench.pass(3_600));
    assert_eq!(bench.deadline(), None);
}

#[test]
fn a_masked_timer_counts_but_does_not_interrupt() {
    let mut bench = timer(PERIODIC | LVT_MASKED);
    bench.write(INITIAL_COUNT, 100);
    assert_eq!(bench.deadline(), None);
    assert!(!bench.pass(4_400));
    assert_eq!(bench.read(CURRENT_COUNT), 90);
    bench.write(LVT_TIMER, VECTOR | PERIODIC);
    assert_eq!(bench.serve(), None, "what went by masked is lost");
    assert_eq!(bench.deadline(), Some(bench.ns + 3_600));
}

#[test]
fn counts_are_exact_at_odd_frequencies_and_the_ends_of_the_range() {
    let mut apic = lapic::LocalApic::new(lapic::Config { timer_hz: 333_333_333, ..CONFIG });
    apic.write_mmio(SVR, 4, 0x1FF, at(0));
    apic.write_mmio(LVT_TIMER, 4, VECTOR.into(), at(0));
    apic.write_mmio(DIVIDE, 4, 10, at(0));
    apic.write_mmio(INITIAL_COUNT, 4, 0xFFFF_FFFF, at(0));
    let expected = (u128::from(u32::MAX) * 128 * 1_000_000_000).div_ceil(333_333_333) as u64;
    assert_eq!(apic.next_deadline_ns(&Clock), Some(expected));
    assert!(!apic.advance(at(expected - 1)));
    assert_eq!(apic.read_mmio(CURRENT_COUNT, 4, at(expected - 1)), 1);
    assert!(apic.advance(at(expected)));
    apic.write_mmio(INITIAL_COUNT, 4, 0xFFFF_FFFF, at(u64::MAX));
    assert!(!apic.advance(at(u64::MAX)));
}

#[test]
fn a_tsc_deadline_fires_once_at_its_tsc() {
    let mut bench = timer(TSC_DEADLINE);
    bench.wrmsr(MSR_TSC_DEADLINE, 24_001).expect("exists in every mode");
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(24_001));
    assert_eq!(bench.deadline(), Some(10_001));
    assert!(!bench.pass(9_000));
    assert!(bench.pass(1));
    assert_eq!(bench.serve(), Some(VECTOR as u8));
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(0));
    assert_eq!(bench.deadline(), None);
    assert!(!bench.pass(1_000_000));
}

#[test]
fn a_tsc_deadline_already_past_fires_at_once() {
    let mut bench = timer(TSC_DEADLINE);
    bench.wrmsr(MSR_TSC_DEADLINE, 1);
    assert_eq!(bench.serve(), Some(VECTOR as u8), "before any time passes");
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(0));
    assert_eq!(bench.serve(), None);
}

#[test]
fn writing_zero_disarms_a_tsc_deadline() {
    let mut bench = timer(TSC_DEADLINE);
    bench.wrmsr(MSR_TSC_DEADLINE, 24_000);
    bench.wrmsr(MSR_TSC_DEADLINE, 0);
    assert_eq!(bench.deadline(), None);
    assert!(!bench.pass(1_000_000));
}

#[test]
fn a_tsc_deadline_can_be_moved() {
    let mut bench = timer(TSC_DEADLINE);
    bench.wrmsr(MSR_TSC_DEADLINE, 24_000);
    bench.wrmsr(MSR_TSC_DEADLINE, 48_000);
    assert_eq!(bench.deadline(), Some(20_000));
    assert!(!bench.pass(18_999));
    assert!(bench.pass(1));
}

#[test]
fn counting_and_deadline_registers_are_dead_in_the_other_mode() {
    let mut bench = timer(TSC_DEADLINE);
    bench.write(INITIAL_COUNT, 100);
    assert_eq!((bench.read(INITIAL_COUNT), bench.read(CURRENT_COUNT)), (0, 0));
    assert_eq!(bench.deadline(), None);
    let mut bench = timer(0);
    bench.wrmsr(MSR_TSC_DEADLINE, 1).expect("ignored, not refused");
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(0));
    assert_eq!(bench.serve(), None);
}

#[test]
fn changing_between_counting_and_deadline_disarms() {
    let mut bench = timer(0);
    bench.write(INITIAL_COUNT, 100);
    bench.write(LVT_TIMER, VECTOR | TSC_DEADLINE);
    assert_eq!((bench.deadline(), bench.read(CURRENT_COUNT)), (None, 0));
    bench.wrmsr(MSR_TSC_DEADLINE, u64::MAX);
    bench.write(LVT_TIMER, VECTOR | PERIODIC);
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(0));
    assert_eq!(bench.deadline(), None);
    bench.write(INITIAL_COUNT, 100);
    bench.write(LVT_TIMER, VECTOR | 3 << 17);
    assert_eq!((bench.deadline(), bench.read(CURRENT_COUNT)), (None, 0), "the reserved mode stops the timer");
}

#[test]
fn rewriting_the_same_mode_keeps_the_timer_running() {
    let mut bench = timer(TSC_DEADLINE);
    bench.wrmsr(MSR_TSC_DEADLINE, 24_000);
    bench.write(LVT_TIMER, (VECTOR + 1) | TSC_DEADLINE);
    assert!(bench.pass(9_000));
    assert_eq!(bench.serve(), Some(VECTOR as u8 + 1));
}

#[test]
fn software_disable_silences_a_running_timer() {
    let mut bench = timer(PERIODIC);
    bench.write(INITIAL_COUNT, 100);
    bench.write(SVR, 0xFF);
    assert_eq!(bench.deadline(), None);
    assert!(!bench.pass(4_400));
    assert_eq!(bench.read(CURRENT_COUNT), 90);
}
