//! IA32_APIC_BASE, the modes, power-on and INIT.

use crate::bench::*;
use lapic::{Lint, LocalApic, MSR_APIC_BASE, MSR_TSC_DEADLINE, Mode, Trigger};

const BASE: u64 = 0xFEE0_0000;
const BOOTSTRAP: u64 = 1 << 8;

#[test]
fn power_on_state() {
    let mut bench = Bench::new();
    assert_eq!(bench.rdmsr(MSR_APIC_BASE), Some(BASE | APIC_ENABLE | BOOTSTRAP));
    assert_eq!((bench.apic.mode(), bench.apic.mmio_base()), (Mode::XApic, Some(BASE)));
    assert!(bench.apic.is_bootstrap());
    let registers = [
        (ID, 0x1500_0000),
        (VERSION, 0x0106_0014),
        (DFR, u32::MAX),
        (SVR, 0xFF),
        (TPR, 0),
        (APR, 0),
        (PPR, 0),
        (LDR, 0),
        (ESR, 0),
        (ICR_LOW, 0),
        (ICR_HIGH, 0),
        (INITIAL_COUNT, 0),
        (CURRENT_COUNT, 0),
        (DIVIDE, 0),
    ];
    for (offset, value) in registers {
        assert_eq!(bench.read(offset), value, "{offset:#x}");
    }
    let mut second = LocalApic::new(lapic::Config { bootstrap: false, ..CONFIG });
    assert_eq!(second.read_msr(MSR_APIC_BASE, at(0)), Ok(BASE | APIC_ENABLE));
}

#[test]
fn the_page_moves() {
    let mut bench = Bench::new();
    bench.wrmsr(MSR_APIC_BASE, 0xAB_CDEF_0000 | APIC_ENABLE).expect("within 40 address bits");
    assert_eq!(bench.apic.mmio_base(), Some(0xAB_CDEF_0000));
    assert!(!bench.apic.is_bootstrap());
}

#[test]
fn reserved_bits_of_the_base_fault() {
    let mut bench = Bench::new();
    for bit in [0, 1, 7, 9, 40, 52, 63] {
        assert_eq!(bench.wrmsr(MSR_APIC_BASE, BASE | APIC_ENABLE | 1 << bit), None, "bit {bit}");
    }
    assert_eq!(bench.rdmsr(MSR_APIC_BASE), Some(BASE | APIC_ENABLE | BOOTSTRAP));
}

#[test]
fn only_the_moves_of_11_12_5_are_allowed() {
    const DISABLED: u64 = BASE;
    const XAPIC: u64 = BASE | APIC_ENABLE;
    const X2APIC: u64 = BASE | APIC_ENABLE | X2APIC_ENABLE;
    const INVALID: u64 = BASE | X2APIC_ENABLE;
    let paths: [(&[u64], _); 3] = [(&[DISABLED], 0b0011), (&[XAPIC], 0b0111), (&[XAPIC, X2APIC], 0b0101)];
    for (path, allowed) in paths {
        for (index, target) in [DISABLED, XAPIC, X2APIC, INVALID].into_iter().enumerate() {
            let mut bench = Bench::new();
            path.iter().for_each(|&state| bench.wrmsr(MSR_APIC_BASE, state).expect("an allowed path"));
            let done = bench.wrmsr(MSR_APIC_BASE, target).is_some();
            assert_eq!(done, allowed >> index & 1 == 1, "{path:x?} to {target:x}");
            let expected = if done { target } else { path[path.len() - 1] };
            assert_eq!(bench.rdmsr(MSR_APIC_BASE), Some(expected));
        }
    }
}

#[test]
fn entering_x2apic_keeps_all_but_ldr_and_the_destination() {
    let mut bench = Bench::enabled();
    bench.write(TPR, 0x35);
    bench.write(LDR, 0x0100_0000);
    bench.write(LVT_TIMER, 0x40);
    bench.write(INITIAL_COUNT, 1_000_000);
    bench.write(ICR_HIGH, 0x0200_0000);
    bench.apic.accept_fixed(0x61, Trigger::Edge);
    bench.enter_x2apic();
    assert_eq!(bench.rdmsr(msr(TPR)), Some(0x35));
    assert_eq!(bench.rdmsr(msr(LDR)), Some(0x0001_0020));
    assert_eq!(bench.rdmsr(msr(ICR_LOW)), Some(0));
    assert_eq!(bench.rdmsr(msr(LVT_TIMER)), Some(0x40));
    assert!(bench.deadline().is_some());
    assert_eq!(bench.serve(), Some(0x61));
}

#[test]
fn disabling_forgets() {
    let mut bench = Bench::enabled();
    bench.write(TPR, 0x35);
    bench.write(LVT_TIMER, 0x40);
    bench.write(INITIAL_COUNT, 1_000_000);
    bench.apic.accept_fixed(0x61, Trigger::Edge);
    bench.wrmsr(MSR_APIC_BASE, BASE);
    assert_eq!((bench.apic.mode(), bench.apic.mmio_base()), (Mode::Disabled, None));
    assert_eq!((bench.apic.pending_vector(), bench.deadline()), (None, None));
    assert!(!bench.apic.accept_fixed(0x61, Trigger::Edge));
    bench.write(SVR, 0x1FF);
    assert_eq!(bench.read(SVR), u32::MAX, "there is no page");
    bench.wrmsr(MSR_APIC_BASE, BASE | APIC_ENABLE);
    assert_eq!((bench.read(TPR), bench.read(SVR), bench.read(LVT_TIMER)), (0, 0xFF, LVT_MASKED));
}

#[test]
fn init_keeps_id_base_and_mode() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(TPR), 0x35);
    bench.wrmsr(msr(LVT_TIMER), 0x40 | 2 << 17);
    bench.wrmsr(MSR_TSC_DEADLINE, u64::MAX);
    bench.wrmsr(msr(ICR_LOW), 0x7_0000_4500);
    bench.apic.accept_fixed(0x61, Trigger::Edge);
    bench.apic.init();
    assert_eq!(bench.apic.mode(), Mode::X2Apic);
    assert!(bench.apic.is_bootstrap());
    let registers = [(ID, 0x123), (LDR, 0x0012_0008), (TPR, 0), (SVR, 0xFF), (ICR_LOW, 0)];
    for (offset, value) in registers {
        assert_eq!(bench.rdmsr(msr(offset)), Some(value), "{offset:#x}");
    }
    assert_eq!(bench.rdmsr(msr(LVT_TIMER)), Some(LVT_MASKED.into()));
    assert_eq!(bench.rdmsr(MSR_TSC_DEADLINE), Some(0));
    assert_eq!(bench.apic.pending_vector(), None);
    assert_eq!(bench.sent().len(), 1, "what was sent is under way");
}

#[test]
fn reset_leaves_nothing_but_the_wires() {
    let mut bench = Bench::x2apic(0x123);
    bench.wrmsr(msr(ICR_LOW), 0x7_0000_4500);
    bench.apic.set_lint(Lint::Lint0, true);
    bench.apic.reset();
    let mut fresh = Bench::with_id(0x123);
    fresh.apic.set_lint(Lint::Lint0, true);
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.apic.save(), fresh.apic.save());
}
