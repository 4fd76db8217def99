//! Every x87 encoding against the host processor: registers, tags, status, memory and flags after one instruction from a random state.
//! The instruction is run between FXRSTOR64 and FXSAVE64 on a page of its own. The last place of a transcendental is the host's own.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::rc::Rc;

use cpu::segment::{Access, CS};
use cpu::{Cpu, CpuModel, GuestClock, control::cr0};
use guest_mem::{GuestMem, Kind};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use interp::{Core, Op};
use lapic::{Config, LocalApic};
use softfloat::F80;

/// Random states for each encoding.
const STATES: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const CODE: u64 = 0x1000;
const DATA: u64 = 0x2000;
/// Bytes of memory that an instruction may touch: FNSAVE's 108.
const MEMORY: usize = 128;
const EXCEPTIONS: u16 = 0x3f;
const ARITHMETIC_FLAGS: u64 = 0x8d5;

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

    fn f80(&mut self) -> F80 {
        let exponent = match self.below(8) {
            0 => self.below(2),
            1 => 0x7fff - self.below(2),
            2 => self.next() & 0x7fff,
            _ => 0x3fff + self.below(70) - 10,
        };
        let fraction = match self.below(4) {
            0 => 0,
            1 => self.next() << self.below(63),
            _ => self.next(),
        };
        let integer = u64::from(exponent != 0 && self.below(20) != 0) << 63;
        F80 { mantissa: fraction & !(1 << 63) | integer, sign_exponent: (self.below(2) << 15 | exponent) as u16 }
    }

    /// A memory operand of any kind: integers, reals of the three sizes, decimals, or the head of an environment.
    fn memory(&mut self) -> [u8; MEMORY] {
        let mut memory = [0; MEMORY];
        for byte in &mut memory {
            *byte = self.next() as u8;
        }
        let head = match self.below(6) {
            0 => (self.next() as i64 >> self.below(64)).to_le_bytes(),
            1 => ((0x3f80_0000 + self.below(40 << 23)) | self.below(2) << 31).to_le_bytes(),
            2 => (((0x3ff << 52) + self.below(40 << 52)) | self.below(2) << 63).to_le_bytes(),
            3 => [0x7f80_0000u64, 0x7fc0_0001, 0x7f80_0001, 1, 0, 0x8000_0000][self.below(6) as usize].to_le_bytes(),
            4 => [0x7ff0u64 << 48, 0x7ff8 << 48 | 1, 0x7ff0 << 48 | 1, 1, 0, 1 << 63][self.below(6) as usize].to_le_bytes(),
            _ => return memory,
        };
        memory[..8].copy_from_slice(&head);
        memory
    }
}

/// What goes in and comes out, as FXSAVE64 lays it out, with the rest of what an instruction may touch.
#[repr(C, align(64))]
#[derive(Clone)]
struct State {
    image: [u8; 512],
    memory: [u8; MEMORY],
    flags: u64,
    rax: u64,
}

impl State {
    fn random(random: &mut Random) -> Self {
        let mut image = [0; 512];
        let masks = if random.below(3) == 0 { random.next() as u16 & EXCEPTIONS } else { EXCEPTIONS };
        let precision = [0, 2, 3, 3][random.below(4) as usize] << 8;
        let control = 0x40 | masks | precision | (random.below(4) as u16) << 10;
        // No exception pends; condition codes, SF and TOP are anything.
        let status = random.next() as u16 & 0x7f40 | random.next() as u16 & masks;
        let valid = if random.below(2) == 0 { random.next() as u8 } else { [0xff, 0x0f, 0xf0, 0x3c][random.below(4) as usize] };
        image[0..2].copy_from_slice(&control.to_le_bytes());
        image[2..4].copy_from_slice(&status.to_le_bytes());
        image[4] = valid;
        image[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        for i in 0..8 {
            image[32 + 16 * i..42 + 16 * i].copy_from_slice(&random.f80().to_bytes());
        }
        Self { image, memory: random.memory(), flags: random.next() & ARITHMETIC_FLAGS | 2, rax: random.next() }
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.image[at], self.image[at + 1]])
    }

    fn st(&self, i: usize) -> F80 {
        F80::from_bytes(std::array::from_fn(|byte| self.image[32 + 16 * i + byte]))
    }
}

/// A page of host code: one instruction and its frame.
struct HostCode(*mut u8);

unsafe extern "C" {
    fn mmap(address: *mut u8, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(address: *mut u8, length: usize) -> i32;
}

impl HostCode {
    fn new() -> Self {
        // SAFETY: a fresh private anonymous mapping.
        let page = unsafe { mmap(std::ptr::null_mut(), 4096, 7, 0x22, -1, 0) };
        assert_ne!(page as isize, -1, "a page to run host code in");
        Self(page)
    }

    fn run(&self, instruction: &[u8], state: &mut State) {
        let mut code = vec![0x48, 0x0f, 0xae, 0x0e]; // fxrstor64 [rsi]
        code.extend([0x4c, 0x89, 0xc0]); // mov rax, r8
        code.extend([0x52, 0x9d]); // push rdx; popfq
        code.extend(instruction);
        code.extend([0x48, 0x0f, 0xae, 0x06]); // fxsave64 [rsi]
        code.extend([0x9c, 0x5a]); // pushfq; pop rdx
        code.extend([0x48, 0x89, 0x11]); // mov [rcx], rdx
        code.extend([0x48, 0x89, 0x41, 0x08]); // mov [rcx + 8], rax
        code.extend([0xdb, 0xe3, 0xc3]); // fninit; ret
        let mut out = [0u64; 2];
        // SAFETY: the page holds exactly this code, which touches the given buffers and leaves the x87 empty.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.0, code.len());
            let run: extern "sysv64" fn(*mut u8, *mut u8, u64, *mut u64, u64) = std::mem::transmute(self.0);
            run(state.memory.as_mut_ptr(), state.image.as_mut_ptr(), state.flags, out.as_mut_ptr(), state.rax);
        }
        [state.flags, state.rax] = out;
    }
}

impl Drop for HostCode {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`.
        unsafe { munmap(self.0, 4096) };
    }
}

/// A processor in flat 32-bit protected mode, with EDI at the data.
fn guest() -> Core {
    let mem = Rc::new(GuestMem::new(1 << 20).expect("1 MiB of guest memory"));
    mem.set_mapping(0, 1 << 20, Kind::Ram, 0).expect("an aligned mapping");
    let mut cpu = Cpu::new(CpuModel::new("x86-64-v2@1", "GenuineIntel", &[]).expect("a known model"));
    cpu.cr0 |= cr0::PE | cr0::NE;
    for segment in &mut cpu.seg {
        segment.base = 0;
        segment.limit = u32::MAX;
        segment.access = Access(0xc093);
    }
    cpu.seg[CS].access = Access(0xc09b);
    cpu.update_mode();
    let apic = LocalApic::new(Config { apic_id: 0, bootstrap: true, timer_hz: 1_000_000_000, physical_address_bits: 40 });
    Core::new(cpu, mem, apic, Rc::new(GuestClock::default()), 1)
}

fn decode(bytes: &[u8]) -> (Instruction, Op) {
    let instruction = Decoder::with_ip(32, bytes, 0, DecoderOptions::NONE).decode();
    let op = decode::op::pack(&instruction, interp::select(&instruction).handler, 32);
    (instruction, op)
}

fn load(core: &mut Core, state: &State) {
    let x87 = &mut core.cpu.x87;
    let status = state.word(2);
    x87.control = state.word(0);
    x87.top = (status >> 11 & 7) as u8;
    x87.status = status & !0x3800;
    x87.empty = !state.image[4];
    for i in 0..8 {
        x87.registers[(usize::from(x87.top) + i) & 7] = state.st(i);
    }
    core.cpu.flags.set(state.flags);
    core.cpu.regs[0] = state.rax;
    core.cpu.regs[7] = DATA;
    assert!(core.mem.write_bytes(DATA, &state.memory));
}

fn save(core: &Core) -> State {
    let mut state = State { image: [0; 512], memory: [0; MEMORY], flags: core.cpu.flags.get(), rax: core.cpu.regs[0] };
    let x87 = &core.cpu.x87;
    state.image[0..2].copy_from_slice(&x87.control.to_le_bytes());
    state.image[2..4].copy_from_slice(&x87.status_word().to_le_bytes());
    state.image[4] = !x87.empty;
    state.image[6..8].copy_from_slice(&x87.opcode.to_le_bytes());
    for i in 0..8 {
        state.image[32 + 16 * i..42 + 16 * i].copy_from_slice(&x87.registers[(usize::from(x87.top) + i) & 7].to_bytes());
    }
    assert!(core.mem.read_bytes(DATA, &mut state.memory));
    state
}

fn execute(core: &mut Core, op: &Op, bytes: &[u8]) {
    assert!(core.mem.write_bytes(CODE, bytes));
    core.cpu.set_rip(CODE + bytes.len() as u64);
    (op.handler.0)(core, op).expect("no fault is due");
}

fn is_transcendental(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{F2xm1, Fcos, Fpatan, Fptan, Fsin, Fsincos, Fyl2x, Fyl2xp1};
    matches!(mnemonic, F2xm1 | Fcos | Fpatan | Fptan | Fsin | Fsincos | Fyl2x | Fyl2xp1)
}

fn is_comparison(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Fcom, Fcomi, Fcomip, Fcomp, Fcompp, Ficom, Ficomp, Ftst, Fucom, Fucomi, Fucomip, Fucomp, Fucompp};
    matches!(mnemonic, Fcom | Fcomi | Fcomip | Fcomp | Fcompp | Ficom | Ficomp | Ftst | Fucom | Fucomi | Fucomip | Fucomp | Fucompp)
}

/// Operands for which the manual leaves the result open, or some hosts go their own way.
fn is_open(mnemonic: Mnemonic, state: &State) -> bool {
    let exponent = state.st(0).sign_exponent & 0x7fff;
    match mnemonic {
        // SDM 1, 8.5.2: an unmasked denormal operand leaves the stack alone. AMD processors push it.
        Mnemonic::Fld => state.word(0) & 2 == 0,
        Mnemonic::F2xm1 => exponent >= 0x3fff,
        Mnemonic::Fyl2xp1 => exponent >= 0x3ffd,
        // Digits above nine, and unused bits of the sign byte.
        Mnemonic::Fbld => state.memory[..9].iter().any(|byte| byte & 15 > 9 || byte >> 4 > 9) || state.memory[9] & 0x7f != 0,
        _ => false,
    }
}

fn near(a: F80, b: F80) -> bool {
    let count = |it: F80| i128::from(it.sign_exponent) << 63 | i128::from(it.mantissa & !(1 << 63));
    count(a).abs_diff(count(b)) <= 1
}

/// Zeroes what only the host decides: pointers, and selectors within stored environments.
fn strip(mut state: State, mnemonic: Mnemonic) -> State {
    state.image[5..32].fill(0);
    state.image[160..].fill(0);
    for i in 0..8 {
        state.image[42 + 16 * i..48 + 16 * i].fill(0);
    }
    state.flags &= ARITHMETIC_FLAGS;
    if matches!(mnemonic, Mnemonic::Fnstenv | Mnemonic::Fnsave) {
        state.memory[12..28].fill(0);
    }
    state
}

fn check(bytes: &[u8], instruction: &Instruction, before: &State, ours: State, theirs: State) -> Result<(), String> {
    let mnemonic = instruction.mnemonic();
    if theirs.word(2) & 0x80 != 0 && !matches!(mnemonic, Mnemonic::Fldcw | Mnemonic::Fldenv | Mnemonic::Frstor) {
        // Only an unmasked exception makes hosts of either maker save the opcode.
        assert_eq!(ours.word(6), theirs.word(6), "opcode of {bytes:02x?}");
    }
    let (mut ours, theirs) = (strip(ours, mnemonic), strip(theirs, mnemonic));
    if matches!(mnemonic, Mnemonic::Fcomi | Mnemonic::Fcomip | Mnemonic::Fucomi | Mnemonic::Fucomip) {
        // SDM 2A, FCOMI: C1 is cleared. AMD processors leave it.
        assert_eq!(ours.image[3] & 2, 0, "C1 after {mnemonic:?}");
        ours.image[3] |= theirs.image[3] & 2;
    }
    if is_comparison(mnemonic) && theirs.word(2) & 0x80 != 0 {
        // SDM 2A, FCOM and FCOMI: after an unmasked exception the outcome is not set. AMD processors set it.
        assert_eq!((before.image[3] ^ ours.image[3]) & 0x45, 0, "codes after {mnemonic:?}");
        ours.image[3] = ours.image[3] & !0x45 | theirs.image[3] & 0x45;
        ours.flags = theirs.flags;
    }
    if is_transcendental(mnemonic) {
        // C1 tells which way the host rounded its own approximation.
        if theirs.word(2) & 0x20 != 0 {
            ours.image[3] = ours.image[3] & !2 | theirs.image[3] & 2;
        }
        for i in 0..8 {
            if near(ours.st(i), theirs.st(i)) {
                ours.image[32 + 16 * i..42 + 16 * i].copy_from_slice(&theirs.st(i).to_bytes());
            }
        }
    }
    let show = |state: &State| {
        format!(
            "cw {:04x} sw {:04x} tags {:02x} st {:x?} memory {:02x?} flags {:x} rax {:x}",
            state.word(0),
            state.word(2),
            state.image[4],
            (0..8).map(|i| state.st(i)).collect::<Vec<_>>(),
            &state.memory[..32],
            state.flags & ARITHMETIC_FLAGS,
            state.rax
        )
    };
    let same = ours.image == theirs.image && ours.memory == theirs.memory && ours.flags == theirs.flags && ours.rax == theirs.rax;
    if same {
        return Ok(());
    }
    Err(format!("{bytes:02x?} {mnemonic:?}\nbefore {}\nours   {}\ntheirs {}\n", show(before), show(&ours), show(&theirs)))
}

/// All encodings that decode: eight opcodes by 64 register forms and eight memory forms on [EDI].
fn encodings() -> impl Iterator<Item = Vec<u8>> {
    (0xd8..=0xdfu8)
        .flat_map(|opcode| (0..8).map(move |reg| vec![opcode, 7 | reg << 3]).chain((0xc0..=0xff).map(move |modrm| vec![opcode, modrm])))
        .chain([vec![0x9b]])
        .filter(|bytes| !decode(bytes).0.is_invalid())
}

#[test]
fn every_encoding_does_what_the_host_does() {
    let (host, mut core, mut random) = (HostCode::new(), guest(), Random(1));
    let (mut count, mut failures) = (0, String::new());
    for bytes in encodings() {
        let (instruction, op) = decode(&bytes);
        for _ in 0..STATES {
            let before = State::random(&mut random);
            if is_open(instruction.mnemonic(), &before) {
                continue;
            }
            let mut theirs = before.clone();
            host.run(&bytes, &mut theirs);
            load(&mut core, &before);
            execute(&mut core, &op, &bytes);
            if let Err(failure) = check(&bytes, &instruction, &before, save(&core), theirs) {
                failures.push_str(&failure);
                break;
            }
        }
        count += 1;
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= 480, "only {count} encodings");
}
