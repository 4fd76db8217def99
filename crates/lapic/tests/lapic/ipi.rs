//! The ICR of the xAPIC: delivery modes, shorthands, and which commands send nothing.

use crate::bench::*;
use lapic::{Delivery, Destination, DestinationMode, DestinationWidth, Ipi, Outgoing, Target};

fn to(id: u32, mode: DestinationMode) -> Target {
    Target::Destination(Destination { id, mode, width: DestinationWidth::Bits8 })
}

fn send(bench: &mut Bench, high: u32, low: u32) -> Option<Ipi> {
    bench.write(ICR_HIGH, high);
    bench.write(ICR_LOW, low);
    let mut sent = bench.sent().into_iter().map(|outgoing| match outgoing {
        Outgoing::Ipi(ipi) => ipi,
        Outgoing::Eoi(_) => panic!("an ICR write broadcasts no EOI"),
    });
    let first = sent.next();
    assert_eq!(sent.next(), None, "one command, one message");
    first
}

#[test]
fn every_delivery_mode_is_sent() {
    let mut bench = Bench::enabled();
    let commands = [
        (0x4041, Delivery::Fixed(0x41)),
        (0x4141, Delivery::LowestPriority(0x41)),
        (0x4200, Delivery::Smi),
        (0x4400, Delivery::Nmi),
        (0x4500, Delivery::Init),
        (0xC500, Delivery::Init),
        (0x0500, Delivery::Init),
        (0x4608, Delivery::Startup(8)),
    ];
    for (low, delivery) in commands {
        let target = to(3, DestinationMode::Physical);
        assert_eq!(send(&mut bench, 0x0300_0000, low), Some(Ipi { target, delivery }), "{low:#x}");
        let target = to(3, DestinationMode::Logical);
        assert_eq!(send(&mut bench, 0x0300_0000, low | 0x800), Some(Ipi { target, delivery }), "{low:#x}");
    }
}

#[test]
fn init_deassert_and_reserved_modes_send_nothing() {
    let mut bench = Bench::enabled();
    for low in [0x8500, 0x8_8500, 0x4300, 0x4741] {
        assert_eq!(send(&mut bench, 0, low), None, "{low:#x}");
    }
    bench.write(ESR, 0);
    assert_eq!(bench.read(ESR), 0);
}

#[test]
fn shorthands_override_the_destination() {
    let mut bench = Bench::enabled();
    let delivery = Delivery::Fixed(0x41);
    for (shorthand, target) in [(2, Target::AllIncludingSelf), (3, Target::AllExcludingSelf)] {
        assert_eq!(send(&mut bench, 0x0300_0000, shorthand << 18 | 0x41), Some(Ipi { target, delivery }));
    }
    let nmi = Ipi { target: Target::SelfOnly, delivery: Delivery::Nmi };
    assert_eq!(send(&mut bench, 0, 1 << 18 | 0x400), Some(nmi));
}

#[test]
fn an_interrupt_to_self_is_accepted_at_once() {
    let mut bench = Bench::enabled();
    assert_eq!(send(&mut bench, 0, 1 << 18 | 0x41), None);
    assert_eq!(bench.serve(), Some(0x41));
}

#[test]
fn a_software_disabled_apic_still_sends() {
    let mut bench = Bench::new();
    assert!(send(&mut bench, 0x0100_0000, 0x4500).is_some());
}

#[test]
fn the_command_reads_back_idle_and_without_reserved_bits() {
    let mut bench = Bench::enabled();
    bench.write(ICR_HIGH, u32::MAX);
    bench.write(ICR_LOW, u32::MAX);
    bench.sent();
    assert_eq!(bench.read(ICR_HIGH), 0xFF00_0000);
    assert_eq!(bench.read(ICR_LOW), 0x000C_CFFF);
}

#[test]
fn writing_the_high_half_sends_nothing() {
    let mut bench = Bench::enabled();
    bench.write(ICR_HIGH, 0x0100_0000);
    assert_eq!(bench.sent(), []);
}
