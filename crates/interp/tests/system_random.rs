//! Nothing that a guest writes into its tables makes the engine panic, and what fails leaves the state as it was.

mod machine;

use cpu::{Fault, RIP, TableRegister};
use interp::deliver::{deliver_fault, deliver_interrupt};
use interp::{Core, Stop};
use machine::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What a failing instruction or delivery may not change.
fn visible(core: &Core) -> impl PartialEq + std::fmt::Debug + use<> {
    let cpu = &core.cpu;
    (cpu.regs, cpu.flags.get(), cpu.seg.map(|segment| (segment.selector, segment.base, segment.limit, segment.access)), cpu.cpl, cpu.mode)
}

/// Instructions that follow selectors and stacks; `xx` bytes are random.
const INSTRUCTIONS: &[&[u8]] = &[
    &[0xcd, 0x00],
    &[0xcc],
    &[0xf1],
    &[0xcf],
    &[0x48, 0xcf],
    &[0x66, 0xcf],
    &[0xcb],
    &[0x48, 0xcb],
    &[0xca, 0x10, 0x00],
    &[0x8e, 0xd8],
    &[0x8e, 0xd0],
    &[0x8e, 0xe8],
    &[0x0f, 0xa1],
    &[0x0f, 0x00, 0xd8],
    &[0x0f, 0x00, 0xd0],
    &[0x0f, 0x02, 0xc8],
    &[0x0f, 0x03, 0xc8],
    &[0x0f, 0x00, 0xe0],
    &[0xff, 0x2c, 0x24],
    &[0xff, 0x1c, 0x24],
    &[0x48, 0xff, 0x2c, 0x24],
    &[0x0f, 0xb2, 0x04, 0x24],
    &[0x0f, 0xb4, 0x04, 0x24],
    &[0x0f, 0x05],
    &[0x0f, 0x07],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0xee],
    &[0x6c],
    &[0x9d],
];

fn machine(random: &mut Random) -> Machine {
    let cpl = if random.below(2) == 0 { 0 } else { 3 };
    match random.below(5) {
        0 => Machine::real(),
        1 | 2 => Machine::protected(cpl),
        _ => Machine::long(cpl),
    }
}

/// A descriptor that is often nearly valid.
fn descriptor(random: &mut Random) -> u64 {
    let value = random.next();
    match random.below(4) {
        0 => value,
        1 => value & 0x00ff_ffff_0000_0000 | 0x00c0_8000_0000_ffff | random.below(16) << 40,
        2 => [0x00cf_9b00_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff][random.below(4) as usize],
        _ => 0x0000_8000_0000_5000 | random.below(GDT_LIMIT.into()) << 16 | random.below(256) << 40 | 0x8000 << 32,
    }
}

fn scramble(machine: &mut Machine, random: &mut Random) {
    for _ in 0..random.below(8) {
        let entry = random.below(u64::from(GDT_LIMIT) / 8 + 1);
        machine.put(GDT + entry * 8, descriptor(random));
    }
    for _ in 0..8 {
        machine.put(IDT + random.below(512) * 8, descriptor(random));
        machine.put(TSS + random.below(13) * 8, random.next());
    }
    for index in 0..12 {
        let word = if random.below(2) == 0 { random.below(0x100) } else { random.next() };
        machine.put(STACK + index * 8, word);
    }
    let cpu = &mut machine.core.cpu;
    cpu.regs[0] = if random.below(2) == 0 { random.below(0xa0) } else { random.next() };
    cpu.flags.set(random.next() & !(1 << 17));
    if random.below(8) == 0 {
        cpu.gdtr.limit = random.below(0x100) as u16;
        cpu.idtr = TableRegister { base: IDT, limit: random.below(0x1000) as u16 };
    }
    if random.below(8) == 0 {
        cpu.tr.limit = random.below(0x80) as u32;
        cpu.regs[4] = random.next();
    }
    if random.below(8) == 0 {
        (cpu.msr.star, cpu.msr.lstar, cpu.msr.sysenter_cs) = (random.next(), HIGH, random.below(0x100));
    }
    cpu.update_mode();
}

#[test]
fn random_tables_never_panic_and_faults_change_nothing() {
    let mut random = Random(1);
    let mut outcomes = [0u32; 4];
    for round in 0..18_000 {
        let mut machine = machine(&mut random);
        scramble(&mut machine, &mut random);
        for _ in 0..25 {
            let before = visible(&machine.core);
            let tasks = machine.core.cpu.tr.selector;
            let mut bytes = INSTRUCTIONS[random.below(INSTRUCTIONS.len() as u64) as usize].to_vec();
            if bytes[0] == 0xcd {
                bytes[1] = random.below(256) as u8;
            }
            let result = machine.step(&bytes);
            match result {
                Ok(()) => outcomes[0] += 1,
                Err(Stop::Fault) => {
                    outcomes[1] += 1;
                    assert_eq!(visible(&machine.core), before, "round {round}: {bytes:x?} faulted with {:?}", machine.core.fault);
                    let fault = machine.core.fault;
                    let delivered = deliver_fault(&mut machine.core, fault);
                    if delivered.is_err() {
                        assert_ne!(delivered, Err(Stop::Fault));
                        assert_eq!(machine.core.device.wanted, None);
                        outcomes[2] += 1;
                        assert!(visible(&machine.core) == before || machine.core.cpu.tr.selector != tasks, "round {round}: {bytes:x?}");
                        break;
                    }
                }
                Err(Stop::Exit) => {
                    outcomes[3] += 1;
                    assert_eq!(visible(&machine.core), before, "round {round}: {bytes:x?}");
                    assert_ne!(machine.core.device.wanted, None, "round {round}: {bytes:x?}");
                    machine.core.device.answer(random.next());
                    machine.core.device.finish();
                }
                Err(Stop::Shutdown) => break,
            }
            machine.core.cpu.regs[RIP as usize] &= machine.core.cpu.ip_mask;
            if random.below(4) == 0 {
                let vector = random.below(256) as u8;
                if deliver_interrupt(&mut machine.core, vector).is_err() {
                    break;
                }
            }
            scramble(&mut machine, &mut random);
        }
    }
    assert!(outcomes[0] + outcomes[1] + outcomes[3] > 100_000);
    assert!(outcomes.iter().all(|&count| count > 100), "every outcome is exercised: {outcomes:?}");
}

#[test]
fn every_vector_of_random_tables_ends_in_a_handler_or_a_stop() {
    let mut random = Random(2);
    let (mut delivered, mut shut_down) = (0, 0);
    for _ in 0..20_000 {
        let mut machine = machine(&mut random);
        scramble(&mut machine, &mut random);
        let error = random.next() as u32;
        let faults = [Fault::UD, Fault::gp(error & 0xffff), Fault::page(random.next(), error & 0x1f), Fault::DOUBLE, Fault::ss(0)];
        match deliver_fault(&mut machine.core, faults[random.below(5) as usize]) {
            Ok(()) => delivered += 1,
            Err(stop) => {
                assert_ne!(stop, Stop::Fault);
                shut_down += 1;
            }
        }
    }
    assert!(delivered > 500 && shut_down > 500, "{delivered} delivered, {shut_down} shut down");
}
