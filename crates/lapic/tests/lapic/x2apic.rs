//! The x2APIC MSRs: which exist, what faults, and what differs from the page.

use crate::bench::*;
use lapic::{
    Delivery, Destination, DestinationMode, DestinationWidth, EoiBroadcast, Ipi, MSR_X2APIC_FIRST, MSR_X2APIC_LAST, Outgoing, Target,
    Trigger,
};

/// Register numbers (the MSR less 0x800) that can be read, and written with some value.
fn is_readable(register: u32) -> bool {
    matches!(register, 0x02 | 0x03 | 0x08 | 0x0A | 0x0D | 0x0F..=0x28 | 0x2F | 0x30 | 0x32..=0x39 | 0x3E)
}

fn is_writable(register: u32) -> bool {
    matches!(register, 0x08 | 0x0B | 0x0F | 0x28 | 0x2F | 0x30 | 0x32..=0x38 | 0x3E | 0x3F)
}

#[test]
fn exactly_the_architectural_registers_exist() {
    let mut bench = Bench::x2apic(0x123);
    for index in MSR_X2APIC_FIRST..=MSR_X2APIC_LAST {
        let register = index - MSR_X2APIC_FIRST;
        assert_eq!(bench.rdmsr(index).is_some(), is_readable(register), "read of {index:#x}");
        assert_eq!(bench.wrmsr(index, 0).is_some(), is_writable(register), "write of {index:#x}");
    }
    for index in [0, 0x1A, 0x6DF, 0x7FF, 0x900, u32::MAX] {
        assert_eq!((bench.rdmsr(index), bench.wrmsr(index, 0)), (None, None), "{index:#x}");
    }
}

#[test]
fn outside_x2apic_mode_every_register_faults() {
    let mut bench = Bench::enabled();
    for index in MSR_X2APIC_FIRST..=MSR_X2APIC_LAST {
        assert_eq!((bench.rdmsr(index), bench.wrmsr(index, 0)), (None, None), "{index:#x}");
    }
}

#[test]
fn in_x2apic_mode_there_is_no_page() {
    let mut bench = Bench::x2apic(0x123);
    assert_eq!(bench.apic.mmio_base(), None);
    bench.write(TPR, 0x40);
    assert_eq!(bench.read(TPR), u32::MAX);
    assert_eq!(bench.rdmsr(msr(TPR)), Some(0));
}

#[test]
fn every_reserved_bit_faults() {
    let registers: [(u16, u64); 15] = [
        (TPR, 0xFF),
        (EOI, 0),
        (SVR, 0x13FF),
        (ESR, 0),
        (LVT_CMCI, 0x117FF),
        (ICR_LOW, 0xFFFF_FFFF_000C_DFFF),
        (LVT_TIMER, 0x710FF),
        (LVT_THERMAL, 0x117FF),
        (LVT_PERFORMANCE, 0x117FF),
        (LVT_LINT0, 0x1F7FF),
        (LVT_LINT1, 0x1F7FF),
        (LVT_ERROR, 0x110FF),
        (INITIAL_COUNT, 0xFFFF_FFFF),
        (DIVIDE, 0xB),
        (SELF_IPI, 0xFF),
    ];
    for (offset, bits) in registers {
        for bit in 0..64 {
            let mut bench = Bench::x2apic(0x123);
            let done = bench.wrmsr(msr(offset), 1 << bit).is_some();
            assert_eq!(done, bits >> bit & 1 == 1, "{offset:#x} bit {bit}");
        }
    }
}

#[test]
fn a_refused_write_changes_nothing() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(LVT_TIMER), 0x40);
    assert_eq!(bench.wrmsr(msr(LVT_TIMER), 1 << 31 | 0x50), None);
    assert_eq!(bench.rdmsr(msr(LVT_TIMER)), Some(0x40));
    assert_eq!(bench.wrmsr(msr(ICR_LOW), 1 << 20 | 0x50), None);
    assert_eq!(bench.sent(), []);
}

#[test]
fn read_only_bits_of_the_lvt_stay() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(LVT_LINT0), 0x40 | 1 << 12 | 1 << 14).expect("read-only is not reserved");
    assert_eq!(bench.rdmsr(msr(LVT_LINT0)), Some(0x40));
}

#[test]
fn ids_are_wide_and_the_logical_one_is_derived() {
    for (id, logical) in [(0, 1), (0x15, 0x0001_0020), (0x123, 0x0012_0008), (0xF_FFFF, 0xFFFF_8000)] {
        let mut bench = Bench::x2apic(id);
        assert_eq!(bench.rdmsr(msr(ID)), Some(id.into()));
        assert_eq!(bench.rdmsr(msr(LDR)), Some(logical));
    }
}

#[test]
fn the_icr_is_one_register() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(ICR_LOW), 0x0001_2345_0000_5841).expect("bit 12 is ignored");
    let destination = Destination { id: 0x12345, mode: DestinationMode::Logical, width: DestinationWidth::Bits32 };
    let ipi = Ipi { target: Target::Destination(destination), delivery: Delivery::Fixed(0x41) };
    assert_eq!(bench.sent(), [Outgoing::Ipi(ipi)]);
    assert_eq!(bench.rdmsr(msr(ICR_LOW)), Some(0x0001_2345_0000_4841));
}

#[test]
fn self_ipi_interrupts_self() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(SELF_IPI), 0x77).expect("exists");
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.serve(), Some(0x77));
    bench.wrmsr(msr(SELF_IPI), 0x0F).expect("an error of the APIC, not a fault");
    assert_eq!(bench.serve(), None);
    bench.wrmsr(msr(ESR), 0);
    assert_eq!(bench.rdmsr(msr(ESR)), Some(1 << 5));
}

#[test]
fn eoi_works_as_on_the_page() {
    let mut bench = Bench::x2apic(0x123);
    bench.apic.accept_fixed(0x91, Trigger::Level);
    bench.apic.acknowledge();
    assert_eq!(bench.rdmsr(msr(ISR) + 4), Some(1 << 17));
    assert_eq!(bench.wrmsr(msr(EOI), 1), None);
    bench.wrmsr(msr(EOI), 0).expect("zero completes");
    assert_eq!(bench.sent(), [Outgoing::Eoi(EoiBroadcast { vector: 0x91 })]);
}

#[test]
fn the_timer_works_as_on_the_page() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(DIVIDE), 0xB);
    bench.wrmsr(msr(LVT_TIMER), 0x40);
    bench.wrmsr(msr(INITIAL_COUNT), 100);
    bench.pass(400);
    assert_eq!(bench.rdmsr(msr(CURRENT_COUNT)), Some(90));
    assert!(bench.pass(3_600));
}
