//! Saving and loading: round trips, and the refusal of what cannot be.

use crate::bench::*;
use lapic::{LocalApic, MSR_TSC_DEADLINE, SavedState, SavedStateError, Trigger};

/// Makes one member impossible.
type Spoil = fn(&mut SavedState);

/// An APIC with something in every member but the TSC deadline.
fn busy() -> Bench {
    let mut bench = Bench::enabled();
    bench.write(TPR, 0x21);
    bench.write(LDR, 0x0400_0000);
    bench.write(DFR, 0);
    bench.write(DIVIDE, 3);
    bench.write(LVT_TIMER, 0x45 | 1 << 17);
    bench.write(INITIAL_COUNT, 12_345);
    bench.write(LVT_LINT0, 0x39 | 1 << 15);
    bench.apic.set_lint(lapic::Lint::Lint0, true);
    bench.write(LVT_ERROR, 0xE1);
    bench.read(0x40);
    bench.write(ESR, 0);
    bench.apic.accept_fixed(1, Trigger::Edge);
    bench.write(ICR_HIGH, 0x0700_0000);
    bench.write(ICR_LOW, 0x4C41);
    bench.apic.accept_fixed(0x81, Trigger::Level);
    bench.apic.acknowledge();
    bench.sent();
    bench
}

fn restored(state: &SavedState) -> LocalApic {
    let mut apic = LocalApic::new(CONFIG);
    apic.load(state).expect("a saved state is possible");
    apic
}

#[test]
fn a_restored_apic_goes_on_like_the_saved_one() {
    let mut original = busy();
    original.pass(123_456);
    let bytes = original.apic.save().to_bytes();
    let state = SavedState::from_bytes(&bytes).expect("just written");
    assert_eq!(state, original.apic.save());
    let mut copy = Bench { apic: restored(&state), ns: original.ns };
    assert_eq!(copy.deadline(), original.deadline());
    for _ in 0..200 {
        assert_eq!(copy.pass(34_567), original.pass(34_567));
        assert_eq!(copy.serve(), original.serve());
        assert_eq!(copy.apic.save(), original.apic.save());
    }
}

#[test]
fn an_armed_deadline_survives() {
    let mut bench = Bench::x2apic(CONFIG.apic_id);
    bench.wrmsr(msr(LVT_TIMER), 0x45 | 2 << 17);
    bench.wrmsr(MSR_TSC_DEADLINE, 1 << 40);
    let copy = restored(&bench.apic.save());
    assert_eq!(copy.next_deadline_ns(&Clock), bench.deadline());
    assert_eq!(copy.mode(), lapic::Mode::X2Apic);
}

#[test]
fn the_format_is_fixed() {
    let bytes = busy().apic.save().to_bytes();
    assert_eq!(bytes.len(), 220);
    assert_eq!(bytes[..12], [1, 0, 0, 0, 220, 0, 0, 0, 0x15, 0, 0, 0]);
    assert_eq!(bytes[12..20], 25_000_000_u64.to_le_bytes());
    assert_eq!(bytes[20..28], 0xFEE0_0900_u64.to_le_bytes());
}

#[test]
fn damaged_bytes_are_refused() {
    let bytes = busy().apic.save().to_bytes();
    for length in 0..bytes.len() {
        assert_eq!(SavedState::from_bytes(&bytes[..length]), Err(SavedStateError::Length { found: length }));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(SavedState::from_bytes(&longer), Err(SavedStateError::Length { found: 221 }));
    let mut newer = bytes.clone();
    newer[0] = 2;
    assert_eq!(SavedState::from_bytes(&newer), Err(SavedStateError::Version { found: 2 }));
    let mut declared = bytes;
    declared[4] = 219;
    assert_eq!(SavedState::from_bytes(&declared), Err(SavedStateError::Length { found: 220 }));
}

#[test]
fn impossible_states_are_refused_whole() {
    let good = busy().apic.save();
    let spoilers: [(&str, Spoil); 24] = [
        ("apic_id", |state| state.apic_id += 1),
        ("timer_hz", |state| state.timer_hz += 1),
        ("apic_base", |state| state.apic_base |= 1),
        ("apic_base", |state| state.apic_base ^= APIC_ENABLE | X2APIC_ENABLE),
        ("apic_base", |state| state.apic_base &= !APIC_ENABLE),
        ("icr", |state| state.icr |= 1 << 20),
        ("icr", |state| state.icr |= 1 << 32),
        ("tpr", |state| state.tpr = 0x100),
        ("ldr", |state| state.ldr |= 1),
        ("dfr", |state| state.dfr = 0),
        ("svr", |state| state.svr |= 1 << 10),
        ("isr", |state| state.isr[0] |= 1),
        ("tmr", |state| state.tmr[0] |= 1 << 15),
        ("irr", |state| state.irr[0] |= 1 << 2),
        ("esr", |state| state.esr = 1),
        ("gathered_errors", |state| state.gathered_errors = 1 << 8),
        ("error_armed", |state| state.error_armed = 2),
        ("lvt", |state| state.lvt[5] |= 1 << 8),
        ("lvt", |state| state.svr &= !(1 << 8)),
        ("initial_count", |state| state.lvt[0] ^= 3 << 17),
        ("divide", |state| state.divide = 4),
        ("counting", |state| state.initial_count = 0),
        ("expiry_tick", |state| state.counting = 0),
        ("tsc_deadline", |state| state.tsc_deadline = 1),
    ];
    for (member, spoil) in spoilers {
        let mut state = good.clone();
        spoil(&mut state);
        let mut apic = Bench::new().apic;
        let before = apic.save();
        assert_eq!(apic.load(&state), Err(SavedStateError::Invalid { member }));
        assert_eq!(apic.save(), before);
    }
}

#[test]
#[should_panic(expected = "routed before the state is saved")]
fn messages_under_way_cannot_be_saved() {
    let mut bench = Bench::enabled();
    bench.write(ICR_LOW, 0x4500);
    bench.apic.save();
}
