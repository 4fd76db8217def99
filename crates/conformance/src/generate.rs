//! From a form and a stream of random numbers to a case: operands are chosen, the instruction is encoded, registers and memory
//! are filled so that its addresses mean something.

use iced_x86::{Code, Decoder, DecoderOptions, Encoder, Instruction, Mnemonic, OpCodeOperandKind as Kind, OpKind, Register};

use crate::address;
use crate::arena;
use crate::case::{Case, Patch};
use crate::family;
use crate::form::{Form, Prefix};
use crate::rng::Rng;
use crate::state::State;
use crate::values::{self, Flavour};

/// Tries until a form's random operands must have fitted an encoding.
const ATTEMPTS: u32 = 200;

/// RFLAGS of every case: the arithmetic flags and DF vary.
const FLAGS_FIXED: u64 = 0x202;
const FLAGS_ARITH: u64 = 0x8d5;
const FLAG_DF: u64 = 0x400;

/// Numbers of general registers.
pub mod gpr {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// A case in the making.
pub struct Draft<'a> {
    pub rng: &'a mut Rng,
    pub form: Form,
    pub instruction: Instruction,
    pub state: State,
    /// General registers whose values are settled: the address of a memory operand works around them.
    pub pinned: u16,
    /// General registers in the memory operand's address: they must not change any more.
    pub in_address: u16,
    /// Width of addresses: the code's, or with 67h half of it.
    pub address_bits: u32,
    /// Segment override with a base: FS or GS.
    pub segment: Option<Register>,
    /// Where the memory operand lies, and its bytes; a family may settle it beforehand.
    pub target: Option<u64>,
    pub size: usize,
    /// What memory and vector operands mean.
    pub flavour: Flavour,
    /// An 8-bit immediate that the family wants.
    pub immediate: Option<u8>,
    pub patches: Vec<Patch>,
    /// The family wants other operands.
    pub rejected: bool,
}

/// Makes a case of `form`; None if no operands that were tried can be encoded.
pub fn case(form: &Form, rng: &mut Rng) -> Option<Case> {
    (0..ATTEMPTS).find_map(|_| attempt(form, rng))
}

fn attempt(form: &Form, rng: &mut Rng) -> Option<Case> {
    let info = form.code.op_code();
    let flavour = family::flavour(form.code, rng);
    let mut draft = Draft {
        form: *form,
        instruction: Instruction::default(),
        state: state(form, rng, flavour),
        pinned: 0,
        in_address: 0,
        address_bits: if rng.chance(10) { form.bits / 2 } else { form.bits },
        segment: None,
        target: None,
        size: operand_bytes(form.code),
        flavour,
        immediate: None,
        patches: Vec::new(),
        rejected: false,
        rng,
    };
    if draft.rng.chance(12) && !info.ignores_segment() {
        // In compatibility mode FS and GS are null.
        let choices = if form.bits == 64 { [Register::FS, Register::GS] } else { [Register::ES, Register::SS] };
        let segment = draft.rng.pick(&choices);
        draft.segment = Some(segment).filter(|_| form.bits == 64);
        draft.instruction.set_segment_prefix(segment);
    }
    let family = family::of(form.code);
    (family.prepare)(&mut draft);
    draft.instruction.set_code(form.code);
    match form.prefix {
        Prefix::None => {}
        Prefix::Lock => draft.instruction.set_has_lock_prefix(true),
        Prefix::Rep => draft.instruction.set_has_rep_prefix(true),
        Prefix::Repne => draft.instruction.set_has_repne_prefix(true),
    }
    for (index, kind) in info.op_kinds().iter().enumerate() {
        operand(&mut draft, index as u32, *kind)?;
    }
    draft.state.rip = arena::CODE;
    let code = encode(&draft.instruction, form)?;
    draft.instruction = code.1;
    if let (Some(target), true) = (draft.target, form.memory) {
        let mut bytes = vec![0; draft.size];
        values::fill(draft.rng, draft.flavour, &mut bytes);
        draft.patch(target, &bytes);
    }
    if draft.rng.chance(25) {
        family::equalize(&mut draft);
    }
    (family.finish)(&mut draft);
    if draft.rejected {
        return None;
    }
    if form.bits == 32 {
        draft.state.gpr = draft.state.gpr.map(|value| value & 0xffff_ffff);
        draft.state.gpr[8..].fill(0);
    }
    let mut case = Case { instruction: draft.instruction, bits: form.bits, code: code.0, state: draft.state, patches: Vec::new() };
    for patch in draft.patches {
        case.patch(patch.linear, &patch.bytes);
    }
    Some(case)
}

/// Random registers; the families refine them.
fn state(form: &Form, rng: &mut Rng, flavour: Flavour) -> State {
    let mut state = State::default();
    for register in &mut state.gpr {
        let bits = rng.pick(&[64, 64, 64, 32, 16, 8]);
        *register = values::integer(rng, bits);
        if bits != 64 && rng.chance(50) {
            *register |= rng.next_u64() << bits;
        }
    }
    state.rflags = FLAGS_FIXED | rng.next_u64() & FLAGS_ARITH | if rng.chance(15) { FLAG_DF } else { 0 };
    for register in &mut state.xmm {
        *register = values::vector(rng, flavour);
    }
    state.x87 = family::x87::registers(rng);
    state.mxcsr = family::sse::mxcsr(rng);
    if form.bits == 64 {
        state.fs_base = address::segment_base(rng);
        state.gs_base = address::segment_base(rng);
    }
    state
}

/// Encodes and decodes again: the case holds what a decoder makes of the bytes.
fn encode(instruction: &Instruction, form: &Form) -> Option<(Vec<u8>, Instruction)> {
    let mut encoder = Encoder::new(form.bits);
    encoder.encode(instruction, arena::CODE).ok()?;
    let bytes = encoder.take_buffer();
    let decoded = Decoder::with_ip(form.bits, &bytes, arena::CODE, DecoderOptions::NONE).decode();
    let same = decoded.code() == form.code && decoded.len() == bytes.len();
    same.then_some((bytes, decoded))
}

/// Bytes of a code's memory operand, as far as faults and contents go.
pub fn operand_bytes(code: Code) -> usize {
    match code.op_code().memory_size().size() {
        // XSAVE's legacy region and header; its size is not in the instruction.
        0 if matches!(code, Code::Xsave_mem | Code::Xsave64_mem | Code::Xrstor_mem | Code::Xrstor64_mem) => 576,
        0 => 1,
        size => size,
    }
}

fn operand(draft: &mut Draft, index: u32, kind: Kind) -> Option<()> {
    use Register as R;
    let memory = draft.form.memory;
    let register = match kind {
        Kind::mem | Kind::mem_mib => return address::general(draft, index),
        Kind::r8_or_mem | Kind::r16_or_mem | Kind::r32_or_mem | Kind::r64_or_mem | Kind::mm_or_mem | Kind::xmm_or_mem if memory => {
            return address::general(draft, index);
        }
        Kind::mem_offs => return address::absolute(draft, index),
        Kind::seg_rSI | Kind::es_rDI | Kind::seg_rDI => return address::string(draft, index, kind),
        Kind::seg_rBX_al => return address::table(draft, index),
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => byte_register(draft),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => numbered(R::AX, draft.any_register()),
        Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode => numbered(R::EAX, draft.any_register()),
        Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode => numbered(R::RAX, draft.any_register()),
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => numbered(R::MM0, draft.rng.below(8)),
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm => numbered(R::XMM0, draft.any_register()),
        Kind::seg_reg => numbered(R::ES, draft.rng.below(6)),
        Kind::cr_reg => draft.rng.pick(&[R::CR0, R::CR2, R::CR3, R::CR4, R::CR8]),
        Kind::dr_reg => numbered(R::DR0, draft.rng.below(8)),
        Kind::es => R::ES,
        Kind::cs => R::CS,
        Kind::ss => R::SS,
        Kind::ds => R::DS,
        Kind::fs => R::FS,
        Kind::gs => R::GS,
        Kind::al => R::AL,
        Kind::cl => R::CL,
        Kind::ax => R::AX,
        Kind::dx => R::DX,
        Kind::eax => R::EAX,
        Kind::rax => R::RAX,
        Kind::st0 => R::ST0,
        Kind::sti_opcode => numbered(R::ST0, draft.rng.below(8)),
        Kind::br64_1 | Kind::br64_4 | Kind::br32_1 | Kind::br32_4 | Kind::br16_1 | Kind::br16_2 => {
            let target = family::branch::target(draft.rng, matches!(kind, Kind::br64_1 | Kind::br32_1 | Kind::br16_1));
            let kind = match kind {
                Kind::br64_1 | Kind::br64_4 => OpKind::NearBranch64,
                Kind::br32_1 | Kind::br32_4 => OpKind::NearBranch32,
                _ => OpKind::NearBranch16,
            };
            draft.instruction.set_op_kind(index, kind);
            // The width of the target is the operand kind's.
            draft.instruction.set_near_branch64(if kind == OpKind::NearBranch16 { target & 0xffff } else { target });
            return Some(());
        }
        _ => return immediate(draft, index, kind),
    };
    draft.instruction.set_op_kind(index, OpKind::Register);
    draft.instruction.set_op_register(index, register);
    Some(())
}

fn immediate(draft: &mut Draft, index: u32, kind: Kind) -> Option<()> {
    let bits = match kind {
        Kind::imm8 | Kind::imm8_const_1 | Kind::imm8sex16 | Kind::imm8sex32 | Kind::imm8sex64 => 8,
        Kind::imm16 => 16,
        Kind::imm32 | Kind::imm32sex64 => 32,
        Kind::imm64 => 64,
        _ => return None,
    };
    let random = values::integer(draft.rng, bits);
    let value = if bits == 8 { draft.immediate.map_or(random, u64::from) } else { random };
    let byte = value as u8;
    let instruction = &mut draft.instruction;
    let mut set = |kind| instruction.set_op_kind(index, kind);
    match kind {
        Kind::imm8 if index > 0 && draft.form.code.mnemonic() == Mnemonic::Enter => {
            set(OpKind::Immediate8_2nd);
            instruction.set_immediate8_2nd(byte);
        }
        Kind::imm8 => {
            set(OpKind::Immediate8);
            instruction.set_immediate8(byte);
        }
        Kind::imm8_const_1 => {
            set(OpKind::Immediate8);
            instruction.set_immediate8(1);
        }
        Kind::imm8sex16 => {
            set(OpKind::Immediate8to16);
            instruction.set_immediate8to16(i16::from(byte as i8));
        }
        Kind::imm8sex32 => {
            set(OpKind::Immediate8to32);
            instruction.set_immediate8to32(i32::from(byte as i8));
        }
        Kind::imm8sex64 => {
            set(OpKind::Immediate8to64);
            instruction.set_immediate8to64(i64::from(byte as i8));
        }
        Kind::imm16 => {
            set(OpKind::Immediate16);
            instruction.set_immediate16(value as u16);
        }
        Kind::imm32 => {
            set(OpKind::Immediate32);
            instruction.set_immediate32(value as u32);
        }
        Kind::imm32sex64 => {
            set(OpKind::Immediate32to64);
            instruction.set_immediate32to64(i64::from(value as i32));
        }
        _ => {
            set(OpKind::Immediate64);
            instruction.set_immediate64(value);
        }
    }
    Some(())
}

/// Register `number` of the class that starts with `first`.
fn numbered(first: Register, number: u64) -> Register {
    first + number as u32
}

/// A byte register, AH CH DH BH included. Those exclude a REX prefix; a combination that needs one is tried again.
fn byte_register(draft: &mut Draft) -> Register {
    numbered(Register::AL, draft.rng.below(if draft.form.bits == 64 { 20 } else { 8 }))
}

impl Draft<'_> {
    /// A register number that the code can encode.
    pub fn any_register(&mut self) -> u64 {
        self.rng.below(if self.form.bits == 64 { 16 } else { 8 })
    }

    /// 67h: addresses are narrower than the code's.
    pub fn narrow(&self) -> bool {
        self.address_bits != self.form.bits
    }

    /// Mask of an address register.
    pub fn address_mask(&self) -> u64 {
        u64::MAX >> (64 - self.address_bits)
    }

    /// Settles a register's value before the memory operand is addressed.
    pub fn pin(&mut self, register: usize, value: u64) {
        self.state.gpr[register] = value;
        self.pinned |= 1 << register;
    }

    /// Changes a register unless an address or a family depends on it.
    pub fn set_free(&mut self, register: usize, value: u64) -> bool {
        let free = (self.pinned | self.in_address) >> register & 1 == 0;
        if free {
            self.state.gpr[register] = value;
        }
        free
    }

    /// Replaces memory contents.
    pub fn patch(&mut self, linear: u64, bytes: &[u8]) {
        self.patches.push(Patch { linear, bytes: bytes.to_vec() });
    }

    /// The base of the segment override, or 0.
    pub fn segment_base(&self) -> u64 {
        match self.segment {
            Some(Register::FS) => self.state.fs_base,
            Some(_) => self.state.gs_base,
            None => 0,
        }
    }

    /// The contents of memory as patched so far; zero where nothing is.
    pub fn contents(&self, linear: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for patch in &self.patches {
            for (at, byte) in patch.bytes.iter().enumerate() {
                let offset = patch.linear.wrapping_add(at as u64).wrapping_sub(linear);
                if offset < size as u64 {
                    bytes[offset as usize] = *byte;
                }
            }
        }
        bytes
    }

    /// The value of a general register operand, zero-extended.
    pub fn register_value(&self, register: Register) -> u64 {
        let full = self.state.gpr[register.full_register().number()];
        match register.size() {
            1 if matches!(register, Register::AH | Register::CH | Register::DH | Register::BH) => full >> 8 & 0xff,
            1 => full & 0xff,
            2 => full & 0xffff,
            4 => full & 0xffff_ffff,
            _ => full,
        }
    }

    /// The value of an integer operand of at most 8 bytes, zero-extended; memory as patched.
    pub fn operand_value(&self, index: u32) -> u64 {
        match self.instruction.op_kind(index) {
            OpKind::Register => self.register_value(self.instruction.op_register(index)),
            _ => {
                let mut bytes = self.contents(self.target.unwrap_or_default(), self.size.min(8));
                bytes.resize(8, 0);
                u64::from_le_bytes(bytes.try_into().expect("resized to 8"))
            }
        }
    }
}
