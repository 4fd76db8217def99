//! Destinations, delivery at the receiver, lowest priority, and MSIs.

use crate::bench::*;
use lapic::{
    Delivered, Delivery, Destination, DestinationMode, DestinationWidth, LocalApic, MSR_APIC_BASE, Message, Trigger, lowest_priority,
};

fn reaches(bench: &Bench, id: u32, mode: DestinationMode, width: DestinationWidth) -> bool {
    bench.apic.matches(&Destination { id, mode, width })
}

fn physical(bench: &Bench, id: u32) -> bool {
    reaches(bench, id, DestinationMode::Physical, DestinationWidth::Bits8)
}

fn logical(bench: &Bench, id: u32) -> bool {
    reaches(bench, id, DestinationMode::Logical, DestinationWidth::Bits8)
}

#[test]
fn xapic_physical_ids_and_broadcast() {
    let bench = Bench::with_id(5).software_enabled();
    assert!(physical(&bench, 5) && physical(&bench, 0xFF));
    assert!(!physical(&bench, 4) && !physical(&bench, 0));
}

#[test]
fn flat_model_compares_bits() {
    let mut bench = Bench::enabled();
    assert!(!logical(&bench, 0x01), "the LDR is zero after reset");
    assert!(logical(&bench, 0xFF), "but a broadcast reaches all");
    bench.write(LDR, 0x0812_3456);
    assert_eq!(bench.read(LDR), 0x0800_0000);
    assert!(logical(&bench, 0x08) && logical(&bench, 0x88) && logical(&bench, 0xFF));
    assert!(!logical(&bench, 0x04) && !logical(&bench, 0xF7));
}

#[test]
fn cluster_model_compares_the_cluster_then_bits() {
    let mut bench = Bench::enabled();
    bench.write(DFR, 0);
    assert_eq!(bench.read(DFR), 0x0FFF_FFFF);
    bench.write(LDR, 0x2400_0000);
    assert!(logical(&bench, 0x24) && logical(&bench, 0x2F) && logical(&bench, 0xFF));
    assert!(!logical(&bench, 0x14) && !logical(&bench, 0x23) && !logical(&bench, 0x20));
    bench.write(DFR, 0x7000_0000);
    assert!(!logical(&bench, 0x24), "no other model exists");
}

#[test]
fn x2apic_logical_ids_are_cluster_and_bit() {
    let bench = Bench::x2apic(0x123);
    let reached = |id| reaches(&bench, id, DestinationMode::Logical, DestinationWidth::Bits32);
    assert!(reached(0x0012_0008) && reached(0x0012_FFFF) && reached(u32::MAX));
    assert!(!reached(0x0012_FFF7) && !reached(0x0011_0008) && !reached(0x8) && !reached(0xFF));
}

#[test]
fn x2apic_physical_ids_have_32_bits() {
    let bench = Bench::x2apic(0x123);
    let reached = |id| reaches(&bench, id, DestinationMode::Physical, DestinationWidth::Bits32);
    assert!(reached(0x123) && reached(u32::MAX));
    assert!(!reached(0x23) && !reached(0xFF));
    assert!(!physical(&bench, 0x23), "8 bits cannot name it");
    assert!(physical(&bench, 0xFF), "but reach it by broadcast");
}

#[test]
fn a_processor_still_in_xapic_mode_is_reached_by_its_full_id() {
    let bench = Bench::with_id(0x123);
    assert!(reaches(&bench, 0x123, DestinationMode::Physical, DestinationWidth::Bits32));
    assert!(!reaches(&bench, 0x23, DestinationMode::Physical, DestinationWidth::Bits32));
    assert!(physical(&bench, 0x23));
    let mut bench = bench.software_enabled();
    bench.write(LDR, 0x0100_0000);
    assert!(!reaches(&bench, 0x1_0001, DestinationMode::Logical, DestinationWidth::Bits32));
}

#[test]
fn a_disabled_apic_is_out_of_reach() {
    let mut bench = Bench::enabled();
    bench.wrmsr(MSR_APIC_BASE, 0xFEE0_0000);
    assert!(!physical(&bench, CONFIG.apic_id) && !physical(&bench, 0xFF));
    assert_eq!(bench.apic.deliver(Delivery::Nmi, Trigger::Edge), None);
}

#[test]
fn deliveries_reach_the_processor_or_the_irr() {
    let mut bench = Bench::enabled();
    let deliveries = [
        (Delivery::Fixed(0x40), Some(Delivered::Fixed(0x40))),
        (Delivery::LowestPriority(0x41), Some(Delivered::Fixed(0x41))),
        (Delivery::Smi, Some(Delivered::Smi)),
        (Delivery::Nmi, Some(Delivered::Nmi)),
        (Delivery::Init, Some(Delivered::Init)),
        (Delivery::Startup(0x9A), Some(Delivered::Startup(0x9A))),
        (Delivery::ExtInt, Some(Delivered::ExtInt)),
        (Delivery::Fixed(3), None),
    ];
    for (delivery, delivered) in deliveries {
        assert_eq!(bench.apic.deliver(delivery, Trigger::Edge), delivered);
    }
    assert_eq!((bench.serve(), bench.serve(), bench.serve()), (Some(0x41), Some(0x40), None));
}

#[test]
fn disabled_by_software_it_takes_only_nmi_smi_init_and_startup() {
    let mut bench = Bench::new();
    for delivery in [Delivery::Fixed(0x40), Delivery::LowestPriority(0x40), Delivery::ExtInt] {
        assert_eq!(bench.apic.deliver(delivery, Trigger::Edge), None);
    }
    for delivery in [Delivery::Nmi, Delivery::Smi, Delivery::Init, Delivery::Startup(1)] {
        assert!(bench.apic.deliver(delivery, Trigger::Edge).is_some());
    }
}

#[test]
fn lowest_priority_elects_focus_then_lowest_then_first() {
    let mut apics: Vec<LocalApic> = (0..4).map(|id| Bench::with_id(id).software_enabled().apic).collect();
    let elected = |apics: &[LocalApic]| lowest_priority(apics.iter().enumerate(), 0x40);
    assert_eq!(elected(&apics), Some(0));
    apics[0].write_mmio(TPR, 4, 0x30, at(0));
    apics[1].write_mmio(TPR, 4, 0x20, at(0));
    apics[2].write_mmio(TPR, 4, 0x20, at(0));
    apics[3].write_mmio(SVR, 4, 0xFF, at(0));
    assert_eq!(elected(&apics), Some(1), "the fourth is disabled");
    apics[0].accept_fixed(0x40, Trigger::Edge);
    assert_eq!(elected(&apics), Some(0), "the first has the vector already");
    apics[0].write_mmio(SVR, 4, 0x3FF, at(0));
    assert_eq!(elected(&apics), Some(1), "without focus checking it has the highest priority");
    assert_eq!(elected(&apics[3..]), None);
}

#[test]
fn msis_decode() {
    let decode = |address, data| Message::from_msi(address, data);
    let to = |id, mode| Destination { id, mode, width: DestinationWidth::Bits8 };
    let (delivery, trigger) = (Delivery::Fixed(0x51), Trigger::Edge);
    let destination = to(0x15, DestinationMode::Physical);
    assert_eq!(decode(0xFEE1_5000, 0x51), Some(Message { destination, delivery, trigger }));
    let destination = to(0x15, DestinationMode::Logical);
    assert_eq!(decode(0xFEE1_5004, 0x51), Some(Message { destination, delivery, trigger }));
    let delivery = Delivery::LowestPriority(0x51);
    assert_eq!(decode(0xFEE1_500C, 0x51), Some(Message { destination, delivery, trigger }));
    assert_eq!(decode(0xFEE1_5004, 0xC151), Some(Message { destination, delivery, trigger: Trigger::Level }));
    let deliveries = [(2, Delivery::Smi), (4, Delivery::Nmi), (5, Delivery::Init), (7, Delivery::ExtInt)];
    for (mode, delivery) in deliveries {
        assert_eq!(decode(0xFEE1_5004, mode << 8), Some(Message { destination, delivery, trigger }));
    }
    for (address, data) in [(0xFED0_0000, 0x51), (0x1_FEE0_0000, 0x51), (0xFEE0_0000, 0x8051), (0xFEE0_0000, 0x0351), (0xFEE0_0000, 0x0651)]
    {
        assert_eq!(decode(address, data), None, "{address:#x} {data:#x}");
    }
}
