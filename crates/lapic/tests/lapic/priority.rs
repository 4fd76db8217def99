//! IRR, ISR, TMR, TPR, PPR, CR8, EOI and the spurious vector.

use crate::bench::*;
use lapic::{EoiBroadcast, GeneralProtection, Outgoing, Trigger};

#[test]
fn the_highest_vector_goes_first_and_nests_only_above_its_class() {
    let mut bench = Bench::enabled();
    for vector in [0x31, 0x45, 0x42] {
        assert!(bench.apic.accept_fixed(vector, Trigger::Edge));
    }
    assert_eq!(bench.read(IRR + 0x10), 1 << (0x31 - 0x20));
    assert_eq!(bench.read(IRR + 0x20), 1 << 2 | 1 << 5);
    assert_eq!(bench.apic.acknowledge(), 0x45);
    assert_eq!(bench.read(ISR + 0x20), 1 << 5);
    assert_eq!(bench.read(IRR + 0x20), 1 << 2);
    assert_eq!(bench.read(PPR), 0x40);
    assert_eq!(bench.apic.pending_vector(), None, "0x42 is of the class in service");
    bench.apic.accept_fixed(0x50, Trigger::Edge);
    assert_eq!(bench.apic.acknowledge(), 0x50);
    bench.write(EOI, 0);
    assert_eq!(bench.read(PPR), 0x40, "0x50 is completed, 0x45 is not");
    bench.write(EOI, 0);
    assert_eq!(bench.serve(), Some(0x42));
    assert_eq!(bench.serve(), Some(0x31));
    assert_eq!(bench.serve(), None);
}

#[test]
fn tpr_masks_its_class_and_below() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x55, Trigger::Edge);
    for (tpr, pending) in [(0x4F, Some(0x55)), (0x50, None), (0x5F, None), (0x60, None), (0xFF, None), (0, Some(0x55))] {
        bench.write(TPR, tpr);
        assert_eq!(bench.apic.pending_vector(), pending, "TPR {tpr:#x}");
        assert_eq!(bench.read(PPR), tpr);
    }
}

#[test]
fn ppr_is_the_higher_of_tpr_and_isr() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x67, Trigger::Edge);
    bench.apic.acknowledge();
    for (tpr, ppr) in [(0x00, 0x60), (0x5F, 0x60), (0x63, 0x63), (0x72, 0x72)] {
        bench.write(TPR, tpr);
        assert_eq!(bench.read(PPR), ppr, "TPR {tpr:#x}");
    }
}

#[test]
fn cr8_is_the_class_of_tpr() {
    let mut bench = Bench::enabled();
    bench.write(TPR, 0x9A);
    assert_eq!(bench.apic.cr8(), 9);
    assert_eq!(bench.apic.set_cr8(0xC), Ok(()));
    assert_eq!(bench.read(TPR), 0xC0);
    assert_eq!(bench.apic.set_cr8(16), Err(GeneralProtection));
    assert_eq!(bench.apic.set_cr8(1 << 63), Err(GeneralProtection));
    assert_eq!(bench.read(TPR), 0xC0);
}

#[test]
fn an_interrupt_raised_again_in_service_is_taken_once_more() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x40, Trigger::Edge);
    bench.apic.acknowledge();
    for _ in 0..3 {
        assert!(bench.apic.accept_fixed(0x40, Trigger::Edge));
    }
    bench.write(EOI, 0);
    assert_eq!(bench.serve(), Some(0x40));
    assert_eq!(bench.serve(), None);
}

#[test]
fn acknowledging_nothing_gives_the_spurious_vector_without_service() {
    let mut bench = Bench::enabled();
    bench.write(SVR, 0x1EF);
    bench.apic.accept_fixed(0x30, Trigger::Edge);
    bench.write(TPR, 0x30);
    assert_eq!(bench.apic.acknowledge(), 0xEF);
    assert!((0..8).all(|word| bench.read(ISR + word * 16) == 0));
    bench.write(TPR, 0);
    assert_eq!(bench.apic.acknowledge(), 0x30, "the masked interrupt is still there");
}

#[test]
fn only_level_interrupts_broadcast_their_eoi() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x71, Trigger::Level);
    bench.apic.accept_fixed(0x82, Trigger::Edge);
    assert_eq!(bench.read(TMR + 0x30), 1 << (0x71 - 0x60));
    assert_eq!(bench.read(TMR + 0x40), 0);
    bench.apic.acknowledge();
    bench.write(EOI, 0);
    assert_eq!(bench.sent(), []);
    bench.apic.acknowledge();
    bench.write(EOI, 0);
    assert_eq!(bench.sent(), [Outgoing::Eoi(EoiBroadcast { vector: 0x71 })]);
    bench.write(EOI, 0);
    assert_eq!(bench.sent(), [], "nothing is in service");
    bench.apic.accept_fixed(0x71, Trigger::Level);
    bench.apic.acknowledge();
    assert_eq!(bench.apic.eoi(), Some(EoiBroadcast { vector: 0x71 }));
    assert_eq!(bench.apic.eoi(), None);
}

#[test]
fn trigger_mode_follows_the_last_acceptance() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x71, Trigger::Level);
    bench.apic.accept_fixed(0x71, Trigger::Edge);
    assert_eq!(bench.read(TMR + 0x30), 0);
    bench.apic.acknowledge();
    assert_eq!(bench.apic.eoi(), None);
}

#[test]
fn eoi_broadcasts_can_be_suppressed() {
    let mut bench = Bench::enabled();
    assert_ne!(bench.read(VERSION) & 1 << 24, 0, "and the version register says so");
    bench.write(SVR, 0x1FF | 1 << 12);
    bench.apic.accept_fixed(0x71, Trigger::Level);
    bench.apic.acknowledge();
    bench.write(EOI, 0);
    assert_eq!(bench.sent(), []);
    assert!((0..8).all(|word| bench.read(ISR + word * 16) == 0));
}

#[test]
fn a_software_disabled_apic_accepts_nothing_and_keeps_what_it_has() {
    let mut bench = Bench::enabled();
    bench.apic.accept_fixed(0x40, Trigger::Edge);
    bench.write(SVR, 0xFF);
    assert!(!bench.apic.accept_fixed(0x50, Trigger::Edge));
    assert_eq!(bench.serve(), Some(0x40));
    assert_eq!(bench.serve(), None);
}

#[test]
fn arbitration_priority_follows_tpr_irr_and_isr() {
    let mut bench = Bench::enabled();
    bench.write(TPR, 0x35);
    assert_eq!(bench.read(APR), 0x35);
    bench.apic.accept_fixed(0x31, Trigger::Edge);
    assert_eq!(bench.read(APR), 0x35);
    bench.apic.accept_fixed(0x91, Trigger::Edge);
    assert_eq!(bench.read(APR), 0x90);
    bench.apic.acknowledge();
    assert_eq!(bench.read(APR), 0x30, "max(TPR AND ISR, IRR) of the classes 3, 9 and 3");
}
