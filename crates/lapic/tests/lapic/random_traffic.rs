//! Random accesses: nothing a guest or a snapshot can do panics, and what must always hold does.

use crate::bench::*;
use lapic::{Delivery, Lint, LocalApic, LocalSource, MSR_APIC_BASE, MSR_TSC_DEADLINE, Mode, SavedState, Trigger};

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small, single-bit, and any values alike.
    fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(0x200),
            1 => 1 << self.below(64),
            2 => self.next() & 0x000F_FFFF,
            _ => self.next(),
        }
    }
}

fn operate(bench: &mut Bench, random: &mut Random) {
    let now = at(bench.ns);
    let offset = random.below(0x1000) as u16;
    let register = if random.below(2) == 0 { offset & 0x3F0 } else { offset };
    let size = 1 << random.below(4);
    let value = random.value();
    match random.below(16) {
        0..=2 => bench.apic.write_mmio(register, size, value, now),
        3 => {
            _ = bench.apic.read_mmio(register, size, now);
        }
        4..=5 => {
            _ = bench.apic.write_msr(msr(register), value, now);
        }
        6 => {
            _ = bench.apic.read_msr(msr(register), now);
        }
        7 => {
            _ = bench.apic.write_msr(MSR_TSC_DEADLINE, now.tsc.wrapping_add(value), now);
        }
        8 if random.below(20) == 0 => {
            _ = bench.apic.write_msr(MSR_APIC_BASE, 0xFEE0_0000 | random.below(8) << 9, now);
        }
        8 => {
            // What a guest would do, so that much of the traffic meets a live timer.
            bench.apic.write_mmio(SVR, 4, 0x1FF, now);
            bench.apic.write_mmio(LVT_TIMER, 4, value & 0x6_00FF, now);
            _ = bench.apic.write_msr(msr(SVR), 0x1FF, now);
            _ = bench.apic.write_msr(msr(LVT_TIMER), value & 0x6_00FF, now);
        }
        9 => {
            bench.apic.accept_fixed(value as u8, if value & 256 == 0 { Trigger::Edge } else { Trigger::Level });
        }
        10 => {
            _ = bench.apic.acknowledge();
        }
        11 => {
            _ = bench.apic.eoi();
        }
        12 => {
            _ = bench.apic.set_lint(if value & 1 == 0 { Lint::Lint0 } else { Lint::Lint1 }, value & 2 == 0);
        }
        13 => {
            _ = bench.apic.raise_local(LocalSource::Performance);
        }
        14 => {
            _ = bench.apic.deliver(Delivery::LowestPriority(value as u8), Trigger::Edge);
        }
        _ if random.below(50) == 0 => bench.apic.init(),
        _ => bench.ns = bench.ns.saturating_add(random.value() >> (20 + random.below(44))),
    }
}

fn check(bench: &mut Bench) {
    bench.sent();
    if let Some(vector) = bench.apic.pending_vector() {
        assert!(vector >= 16);
        assert_ne!(bench.apic.mode(), Mode::Disabled);
    }
    let state = bench.apic.save();
    let mut copy = LocalApic::new(CONFIG);
    copy.load(&state).expect("every reachable state can be loaded");
    assert_eq!(copy.save(), state);
    let Some(deadline) = bench.apic.next_deadline_ns(&Clock).filter(|&deadline| deadline > bench.ns) else {
        return;
    };
    let legal = state.lvt[0] & 0xF0 != 0;
    assert!(!copy.advance(at(deadline - 1)), "the timer is early");
    if deadline < u64::MAX {
        assert_eq!(copy.advance(at(deadline)), legal, "the timer is late");
    }
}

#[test]
fn random_traffic_never_panics_and_keeps_the_invariants() {
    for seed in 1..=10 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
        let mut bench = Bench::new();
        let (mut interrupts, mut deadlines) = (0, 0);
        for _ in 0..20_000 {
            operate(&mut bench, &mut random);
            check(&mut bench);
            interrupts += u32::from(bench.apic.pending_vector().is_some());
            deadlines += u32::from(bench.deadline().is_some());
        }
        assert!(interrupts > 100 && deadlines > 100, "the traffic reaches the states that matter");
    }
}

#[test]
fn random_bytes_load_or_are_refused() {
    let mut random = Random(0x1234_5678_9ABC_DEF1);
    let good = Bench::enabled().apic.save().to_bytes();
    let mut loaded = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let position = random.below(bytes.len() as u64) as usize;
            bytes[position] ^= 1 << random.below(8);
        }
        let mut bench = Bench::new();
        if SavedState::from_bytes(&bytes).is_ok_and(|state| bench.apic.load(&state).is_ok()) {
            loaded += 1;
            for _ in 0..10 {
                operate(&mut bench, &mut random);
                check(&mut bench);
            }
        }
    }
    assert!(loaded > 1_000);
}
