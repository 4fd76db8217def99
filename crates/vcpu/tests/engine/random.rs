//! Nonsense of every kind: random bytes as code, random tables, random registers, in all three modes. The engine neither
//! panics nor hangs, two runs agree in everything, and so do runs cut into quanta of different sizes.

use cpu::segment::{Segment, TableRegister};
use cpu::{RIP, segment};
use guest_mem::Kind;
use interp::device::Access;
use vcpu::{Config, Exit, Machine, Registers};

const PAGES: u64 = 24;
const RAM_BYTES: u64 = PAGES * 4096;
const TSS: u64 = 0x2800;
/// Bytes that the pages of a case are cut from.
const SOUP_BYTES: usize = 1 << 20;
/// Instructions in a case.
const INSTRUCTIONS: u64 = 400;
/// Exits after which a case ends.
const EXITS: usize = 100;

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

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Real,
    Protected,
    Long,
}

/// Instructions that do more than random bytes: strings, stacks, branches, flags, read-modify-writes, system ones.
const PHRASES: &[&[u8]] = &[
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0xf2, 0xae],
    &[0xa5],
    &[0xaa],
    &[0x60],
    &[0x61],
    &[0x9c],
    &[0x9d],
    &[0xcf],
    &[0x48, 0xcf],
    &[0xcd, 0x21],
    &[0xcc],
    &[0xfa],
    &[0xfb],
    &[0x0f, 0x31],
    &[0x0f, 0xa2],
    &[0x0f, 0x0b],
    &[0xe8, 0x05, 0x00, 0x00, 0x00],
    &[0xc3],
    &[0xeb, 0xf0],
    &[0xeb, 0x10],
    &[0xe2, 0xfa],
    &[0x75, 0x08],
    &[0x01, 0x07],
    &[0x10, 0x06],
    &[0x87, 0x04, 0x24],
    &[0xf0, 0x0f, 0xb1, 0x0f],
    &[0x0f, 0xc1, 0x06],
    &[0xc8, 0x10, 0x00, 0x03],
    &[0xc9],
    &[0x0f, 0x01, 0x3f],
    &[0x0f, 0x20, 0xd8],
    &[0x0f, 0x22, 0xd8],
    &[0x0f, 0x22, 0xc0],
    &[0x0f, 0x22, 0xe0],
    &[0x0f, 0x30],
    &[0x8e, 0xd8],
    &[0x8e, 0xd0],
    &[0x17],
    &[0xe4, 0x40],
    &[0xee],
    &[0x6c],
    &[0xf3, 0x6e],
    &[0xf4],
    &[0xf7, 0xf1],
    &[0x66, 0x0f, 0xfe, 0x07],
    &[0x0f, 0x11, 0x07],
    &[0xdd, 0x07],
    &[0xd9, 0x1e],
    &[0x0f, 0xae, 0x07],
];

struct Case {
    machine: Machine,
}

impl Case {
    fn new(mode: Mode, soup: &[u8], seed: u64) -> Self {
        let mut random = Random(seed);
        let config = Config {
            memory_bytes: RAM_BYTES as usize,
            cpus: 1,
            cpu_model: "x86-64-v2@1".into(),
            vendor: "GenuineIntel".into(),
            features: vec![],
        };
        let mut machine = Machine::new(&config).expect("the model and 96 KiB of RAM are available");
        machine.enter_virtual_wire();
        let mut case = Self { machine };
        case.map(&mut random);
        let mut ram = Vec::with_capacity(RAM_BYTES as usize);
        for _ in 0..PAGES {
            ram.extend_from_slice(&soup[random.below(SOUP_BYTES as u64 - 4096) as usize..][..4096]);
        }
        case.tables(mode, &mut random, &mut ram);
        for (page, bytes) in ram.chunks(4096).enumerate() {
            // Pages that are mapped as something else keep their zeros.
            case.machine.memory().write_bytes(page as u64 * 4096, bytes);
        }
        case.state(mode, &mut random);
        case
    }

    /// RAM where it belongs, with a few pages of ROM, flash, device space and aliases.
    fn map(&mut self, random: &mut Random) {
        self.machine.map(0, RAM_BYTES, Kind::Ram, 0).expect("aligned and in range");
        for _ in 0..random.below(4) {
            let kind = random.choose(&[Kind::Rom, Kind::ReadDirect, Kind::Mmio, Kind::Ram]);
            let (address, from) = (random.below(PAGES) * 4096, random.below(PAGES) * 4096);
            self.machine.map(address, 4096, kind, from).expect("aligned and in range");
        }
    }

    /// Descriptor tables at page 1 and 2, page tables from page 3 on, with a good part of nonsense.
    fn tables(&mut self, mode: Mode, random: &mut Random, ram: &mut [u8]) {
        let put = |ram: &mut [u8], at: u64, value: u64| ram[at as usize..at as usize + 8].copy_from_slice(&value.to_le_bytes());
        let code = if matches!(mode, Mode::Long) { 0x00af_9b00_0000_ffff } else { 0x00cf_9b00_0000_ffff };
        for (index, descriptor) in [0, code, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, code | 0x60 << 40].into_iter().enumerate() {
            if !random.chance(3) {
                put(ram, 0x1000 + index as u64 * 8, descriptor);
            }
        }
        for vector in 0..64u64 {
            if random.chance(5) {
                continue;
            }
            let offset = random.below(RAM_BYTES);
            let dpl = if random.chance(50) { 0x60 } else { 0 };
            let kind = if random.chance(80) { 0x8e } else { 0x8f };
            let low = offset & 0xffff | 8 << 16 | (kind | dpl) << 40 | offset >> 16 << 48;
            match mode {
                Mode::Real => ram[vector as usize * 4..][..4].copy_from_slice(&(offset as u32 & 0x1ffff).to_le_bytes()),
                Mode::Protected => put(ram, 0x2000 + vector * 8, low),
                Mode::Long => {
                    let ist = if random.chance(60) { 1 + vector % 3 } else { 0 };
                    put(ram, 0x2000 + vector * 16, low | ist << 32);
                    put(ram, 0x2000 + vector * 16 + 8, 0);
                }
            }
        }
        // Stacks of the TSS: slot 0 for level 0, then those of IST1 to IST3.
        for slot in [0u64, 4, 5, 6] {
            let at = TSS + 4 + 8 * slot;
            put(ram, at, random.below(RAM_BYTES));
            if matches!(mode, Mode::Protected) {
                ram[at as usize + 4] = 0x10;
            }
        }
        // One table a level; the last maps 512 linear pages onto the few there are, at random but for those of the tables.
        let level = |random: &mut Random, next: u64| next | if random.chance(90) { 7 } else { random.below(256) };
        match mode {
            Mode::Real => {}
            Mode::Protected => {
                for index in 0..512 {
                    let entry = |random: &mut Random, page: u64| leaf(random, page) & 0xffff_ffff;
                    put(ram, 0x4000 + index * 8, entry(random, index * 2) | entry(random, index * 2 + 1) << 32);
                    put(ram, 0x3000 + index * 8, if index < 2 { level(random, 0x4000) | level(random, 0x4000) << 32 } else { 0 });
                }
            }
            Mode::Long => {
                for index in 0..512 {
                    put(ram, 0x6000 + index * 8, leaf(random, index));
                    for (table, next) in [(0x3000, 0x4000), (0x4000, 0x5000), (0x5000, 0x6000)] {
                        put(ram, table + index * 8, if index < 2 || index == 511 { level(random, next) } else { 0 });
                    }
                }
            }
        }
    }

    fn state(&mut self, mode: Mode, random: &mut Random) {
        use cpu::control::{cr0, cr4, efer};
        let cpu = &mut self.machine.core_mut(0).cpu;
        for register in &mut cpu.regs[..16] {
            *register = match random.below(4) {
                0 if random.chance(50) => random.next(),
                0 | 1 => random.below(16),
                _ => random.below(RAM_BYTES),
            };
        }
        if random.chance(80) {
            cpu.regs[4] = random.below(RAM_BYTES);
        }
        for register in &mut cpu.xmm {
            *register = u128::from(random.next()) << 64 | u128::from(random.next());
        }
        cpu.flags.set(random.next() & (cpu::flags::bit::ARITH | cpu::flags::bit::DF | cpu::flags::bit::IF));
        if random.chance(10) {
            cpu.flags.assign(cpu::flags::bit::TF, true);
        }
        let code_access = match mode {
            Mode::Real => 0x9b,
            Mode::Protected => 0xc09b,
            Mode::Long => 0xa09b,
        };
        let limit = if matches!(mode, Mode::Real) { 0xffff } else { u32::MAX };
        let user = if !matches!(mode, Mode::Real) && random.chance(30) { 3 } else { 0u16 };
        for index in 0..6 {
            cpu.seg[index] = Segment::new(0x10 | user, 0, limit, if limit == u32::MAX { 0xc093 } else { 0x93 } | u32::from(user) << 5);
        }
        cpu.seg[segment::CS] = Segment::new(8 | user, 0, limit, code_access | u32::from(user) << 5);
        cpu.tr = Segment::new(0x30, if random.chance(90) { TSS } else { random.below(RAM_BYTES) }, 0x67, 0x8b);
        cpu.gdtr = TableRegister { base: 0x1000, limit: 0x27 };
        cpu.idtr = TableRegister { base: if matches!(mode, Mode::Real) { 0 } else { 0x2000 }, limit: 0xfff };
        cpu.cr0 = cr0::ET | cr0::NE;
        cpu.cr3 = 0x3000;
        if !matches!(mode, Mode::Real) {
            cpu.cr0 |= cr0::PE | if random.chance(50) { cr0::WP } else { 0 };
        }
        let optional = cr4::SMEP | cr4::SMAP | cr4::PGE | cr4::PSE | cr4::TSD | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::FSGSBASE | cr4::UMIP;
        cpu.cr4 = random.next() & optional | cr4::OSFXSR;
        match mode {
            Mode::Real => {}
            Mode::Protected if random.chance(30) => {}
            Mode::Protected => cpu.cr0 |= cr0::PG,
            Mode::Long => {
                cpu.cr0 |= cr0::PG;
                cpu.cr4 |= cr4::PAE;
                cpu.efer = efer::LME | efer::LMA | efer::SCE | if random.chance(70) { efer::NXE } else { 0 };
            }
        }
        cpu.regs[RIP as usize] = random.below(RAM_BYTES) & if matches!(mode, Mode::Real) { 0xffff } else { u64::MAX };
        cpu.update_mode();
        cpu.tlb.flush();
    }

    /// Runs the case in quanta of `quantum` and returns all that it did.
    fn run(mut self, quantum: u64) -> Outcome {
        let mut exits = Vec::new();
        while exits.len() < EXITS && self.machine.instructions() < INSTRUCTIONS {
            let before = self.machine.instructions();
            let granted = quantum.min(INSTRUCTIONS - before);
            let exit = self.machine.run(0, granted as u32, u64::MAX);
            match exit {
                Exit::Budget if self.machine.instructions() == before + granted => continue,
                // Exceptions without an end.
                Exit::Budget => break,
                Exit::Io(Access { address, .. }) | Exit::Mmio(Access { address, .. }) => {
                    self.machine.answer(0, Random(address ^ exits.len() as u64).next());
                }
                Exit::IntAck => self.machine.answer(0, 0x20),
                Exit::Hlt { .. } => self.machine.nmi(0),
                Exit::Eoi(_) => {}
                // A triple fault; a frame in device space.
                Exit::Shutdown | Exit::Error => {
                    exits.push(exit);
                    break;
                }
                Exit::Kick | Exit::Debug => panic!("nothing asks for {exit:?}"),
            }
            exits.push(exit);
        }
        let mut ram = vec![0; RAM_BYTES as usize];
        for (index, word) in ram.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&self.machine.memory().load::<u64>(index * 8).to_le_bytes());
        }
        let stats = self.machine.stats();
        Outcome {
            exits,
            registers: self.machine.registers(0),
            xmm: self.machine.core_mut(0).cpu.xmm,
            ram,
            counts: [self.machine.instructions(), self.machine.guest_ns(), stats.exceptions_delivered, stats.interrupts_delivered],
        }
    }
}

#[derive(PartialEq)]
struct Outcome {
    exits: Vec<Exit>,
    registers: Registers,
    xmm: [u128; 16],
    ram: Vec<u8>,
    /// Instructions, nanoseconds, exceptions, interrupts.
    counts: [u64; 4],
}

/// What cases are cut from. Nonsense, but not only: phrases, random bytes, runs of small instructions.
fn soup() -> Vec<u8> {
    let mut random = Random(0x6d61_6368_696e_6521);
    let mut bytes = Vec::with_capacity(SOUP_BYTES + 16);
    while bytes.len() < SOUP_BYTES {
        match random.below(4) {
            0 => {
                let length = 1 + random.below(6) as usize;
                bytes.extend_from_slice(&random.next().to_le_bytes()[..length]);
            }
            1 => bytes.extend_from_slice(&[random.below(0x40) as u8 & 0x3b, random.next() as u8, random.next() as u8, 0, 0, 0]),
            _ => bytes.extend_from_slice(random.choose(PHRASES)),
        }
    }
    bytes
}

/// The last-level entry of a linear page: mostly a page of RAM that may be used, else nonsense.
fn leaf(random: &mut Random, page: u64) -> u64 {
    if page < 7 && random.chance(97) {
        return page << 12 | 7;
    }
    let frame = random.below(PAGES + 2) * 4096;
    match random.below(16) {
        0 => 0,
        1 => random.next(),
        2 => frame | 1,
        3 => frame | 7 | 1 << 63,
        4 => frame | 3,
        _ => frame | 7,
    }
}

fn explore(mode: Mode, seeds: std::ops::Range<u64>) {
    let soup = soup();
    let (mut executed, mut exceptions, mut exits) = (0, 0, 0);
    for seed in seeds {
        let whole = Case::new(mode, &soup, seed).run(INSTRUCTIONS);
        let again = Case::new(mode, &soup, seed).run(if seed % 2 == 0 { 1 } else { 2 + seed % 6 });
        for difference in
            [whole.exits != again.exits, whole.registers != again.registers, whole.ram != again.ram, whole.counts != again.counts]
        {
            assert!(
                !difference,
                "{mode:?} case {seed}:\n{:?}\n{:?}\n{:x?}\n{:x?}",
                whole.counts, again.counts, whole.registers, again.registers
            );
        }
        assert!(whole.xmm == again.xmm, "{mode:?} case {seed}");
        executed += whole.counts[0];
        exceptions += whole.counts[2];
        exits += whole.exits.len();
    }
    assert!(executed > 20_000 && exceptions > 1000 && exits > 100, "little happened: {executed} {exceptions} {exits}");
}

#[test]
fn long_mode() {
    explore(Mode::Long, 0..4000);
}

#[test]
fn protected_mode() {
    explore(Mode::Protected, 0..4000);
}

#[test]
fn real_mode() {
    explore(Mode::Real, 0..2000);
}

#[test]
fn two_runs_of_a_case_are_identical() {
    let soup = soup();
    for mode in [Mode::Long, Mode::Protected, Mode::Real] {
        for seed in 1_000_000..1_000_050 {
            assert!(Case::new(mode, &soup, seed).run(77) == Case::new(mode, &soup, seed).run(77), "{mode:?} case {seed}");
        }
    }
}
