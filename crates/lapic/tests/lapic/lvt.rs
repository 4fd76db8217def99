//! LVT entries: which bits they have, masking, local sources and the LINT pins.

use crate::bench::*;
use lapic::{Delivered, EoiBroadcast, Lint, LocalSource, MSR_APIC_BASE, Outgoing};

const ENTRIES: [(u16, u32); 7] = [
    (LVT_CMCI, 0x107FF),
    (LVT_TIMER, 0x700FF),
    (LVT_THERMAL, 0x107FF),
    (LVT_PERFORMANCE, 0x107FF),
    (LVT_LINT0, 0x1A7FF),
    (LVT_LINT1, 0x1A7FF),
    (LVT_ERROR, 0x100FF),
];
const SMI: u32 = 2 << 8;
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const EXT_INT: u32 = 7 << 8;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;

#[test]
fn entries_hold_the_bits_they_have() {
    let mut bench = Bench::enabled();
    for (entry, bits) in ENTRIES {
        assert_eq!(bench.read(entry), LVT_MASKED, "{entry:#x} after reset");
        bench.write(entry, u32::MAX);
        assert_eq!(bench.read(entry), bits, "{entry:#x}");
    }
}

#[test]
fn masks_are_forced_while_disabled_by_software() {
    let mut bench = Bench::enabled();
    for (entry, _) in ENTRIES {
        bench.write(entry, 0x40);
        assert_eq!(bench.read(entry), 0x40);
    }
    bench.write(SVR, 0xFF);
    for (entry, _) in ENTRIES {
        assert_eq!(bench.read(entry), 0x40 | LVT_MASKED, "{entry:#x}");
        bench.write(entry, 0x41);
        assert_eq!(bench.read(entry), 0x41 | LVT_MASKED, "{entry:#x}");
    }
    bench.write(SVR, 0x1FF);
    for (entry, _) in ENTRIES {
        assert_eq!(bench.read(entry), 0x41 | LVT_MASKED, "enabling does not unmask {entry:#x}");
    }
}

#[test]
fn local_sources_deliver_as_their_entries_say() {
    let sources = [(LocalSource::Cmci, LVT_CMCI), (LocalSource::Thermal, LVT_THERMAL), (LocalSource::Performance, LVT_PERFORMANCE)];
    for (source, entry) in sources {
        let mut bench = Bench::enabled();
        assert_eq!(bench.apic.raise_local(source), None, "masked");
        let deliveries = [(0x40, Some(Delivered::Fixed(0x40))), (SMI, Some(Delivered::Smi)), (NMI, Some(Delivered::Nmi))];
        for (value, delivered) in deliveries.into_iter().chain([(INIT, None), (EXT_INT, None), (3 << 8, None)]) {
            bench.write(entry, value);
            assert_eq!(bench.apic.raise_local(source), delivered, "{source:?} {value:#x}");
        }
        assert_eq!(bench.serve(), Some(0x40));
    }
}

#[test]
fn a_performance_interrupt_masks_its_entry() {
    let mut bench = Bench::enabled();
    bench.write(LVT_PERFORMANCE, NMI);
    assert_eq!(bench.apic.raise_local(LocalSource::Performance), Some(Delivered::Nmi));
    assert_eq!(bench.read(LVT_PERFORMANCE), NMI | LVT_MASKED);
    assert_eq!(bench.apic.raise_local(LocalSource::Performance), None);
}

#[test]
fn lint1_delivers_nmi_on_its_rising_edge() {
    let mut bench = Bench::enabled();
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), None, "masked after reset");
    bench.apic.set_lint(Lint::Lint1, false);
    bench.write(LVT_LINT1, NMI);
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), Some(Delivered::Nmi));
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), None);
    assert_eq!(bench.apic.set_lint(Lint::Lint1, false), None);
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), Some(Delivered::Nmi));
}

#[test]
fn pins_deliver_smi_init_and_edge_interrupts() {
    let mut bench = Bench::enabled();
    for (value, delivered) in
        [(SMI, Delivered::Smi), (INIT, Delivered::Init), (0x52, Delivered::Fixed(0x52)), (NMI | LEVEL, Delivered::Nmi)]
    {
        bench.write(LVT_LINT0, value);
        assert_eq!(bench.apic.set_lint(Lint::Lint0, true), Some(delivered));
        assert_eq!(bench.apic.set_lint(Lint::Lint0, false), None);
    }
    bench.write(LVT_LINT1, 0x53 | LEVEL);
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), Some(Delivered::Fixed(0x53)));
    assert_eq!(bench.read(LVT_LINT1) & REMOTE_IRR, 0, "LINT1 is edge-sensitive whatever its entry says");
}

#[test]
fn a_level_interrupt_on_lint0_repeats_until_the_pin_is_released() {
    let mut bench = Bench::enabled();
    bench.write(LVT_LINT0, 0x60 | LEVEL);
    assert_eq!(bench.apic.set_lint(Lint::Lint0, true), Some(Delivered::Fixed(0x60)));
    assert_eq!(bench.read(LVT_LINT0), 0x60 | LEVEL | REMOTE_IRR);
    for _ in 0..3 {
        assert_eq!(bench.apic.acknowledge(), 0x60);
        assert_eq!(bench.apic.pending_vector(), None);
        bench.write(EOI, 0);
        assert_eq!(bench.sent(), [Outgoing::Eoi(EoiBroadcast { vector: 0x60 })]);
    }
    assert_eq!(bench.apic.set_lint(Lint::Lint0, false), None);
    assert_eq!(bench.serve(), Some(0x60), "it was accepted before the release");
    assert_eq!(bench.serve(), None);
    assert_eq!(bench.read(LVT_LINT0), 0x60 | LEVEL);
}

#[test]
fn a_level_interrupt_is_not_accepted_again_before_its_eoi() {
    let mut bench = Bench::enabled();
    bench.write(LVT_LINT0, 0x60 | LEVEL);
    bench.apic.set_lint(Lint::Lint0, true);
    assert_eq!(bench.apic.acknowledge(), 0x60);
    bench.apic.set_lint(Lint::Lint0, false);
    assert_eq!(bench.apic.set_lint(Lint::Lint0, true), None);
    bench.write(LVT_LINT0, 0x60 | LEVEL);
    assert_eq!(bench.read(LVT_LINT0), 0x60 | LEVEL | REMOTE_IRR);
    assert_eq!(bench.read(IRR + 0x30), 0);
    bench.apic.set_lint(Lint::Lint0, false);
    bench.write(EOI, 0);
    assert_eq!(bench.serve(), None);
}

#[test]
fn unmasking_an_asserted_level_pin_interrupts() {
    let mut bench = Bench::enabled();
    bench.write(LVT_LINT0, 0x60 | LEVEL | LVT_MASKED);
    assert_eq!(bench.apic.set_lint(Lint::Lint0, true), None);
    bench.write(LVT_LINT0, 0x60 | LEVEL);
    assert_eq!(bench.apic.pending_vector(), Some(0x60));
    bench.write(LVT_LINT0, 0x60);
    assert_eq!(bench.read(LVT_LINT0), 0x60, "remote IRR means nothing on an edge");
}

#[test]
fn the_8259_comes_through_lint0() {
    let mut bench = Bench::new();
    assert!(!bench.apic.lint0_ext_int_enabled(), "LINT0 is masked after reset");
    bench.write(SVR, 0x1FF);
    bench.write(LVT_LINT0, EXT_INT);
    assert!(bench.apic.lint0_ext_int_enabled());
    assert!(!bench.apic.ext_int_pending());
    assert_eq!(bench.apic.set_lint(Lint::Lint0, true), None);
    bench.write(TPR, 0xFF);
    assert!(bench.apic.ext_int_pending(), "whatever the priorities");
    assert_eq!(bench.apic.pending_vector(), None);
    bench.apic.set_lint(Lint::Lint0, false);
    assert!(!bench.apic.ext_int_pending());
    for value in [EXT_INT | LVT_MASKED, 0x40] {
        bench.write(LVT_LINT0, value);
        assert!(!bench.apic.lint0_ext_int_enabled());
    }
}

#[test]
fn without_an_apic_the_pins_are_intr_and_nmi() {
    let mut bench = Bench::new();
    bench.wrmsr(MSR_APIC_BASE, 0xFEE0_0000).expect("disabling is allowed");
    assert!(bench.apic.lint0_ext_int_enabled());
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), Some(Delivered::Nmi));
    assert_eq!(bench.apic.set_lint(Lint::Lint0, true), None);
    assert!(bench.apic.ext_int_pending());
}

#[test]
fn virtual_wire_connects_the_8259_and_nmi() {
    let mut bench = Bench::new();
    bench.apic.set_virtual_wire();
    assert_eq!(bench.read(SVR), 0x1FF);
    assert!(bench.apic.lint0_ext_int_enabled());
    assert_eq!(bench.apic.set_lint(Lint::Lint1, true), Some(Delivered::Nmi));
}
