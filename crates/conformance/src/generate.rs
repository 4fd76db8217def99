//! From a form and a stream of random numbers to a case: operands are chosen, the instruction is encoded, registers and memory
//! are filled so that its addresses mean something.

use iced_x86::{Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, OpKind, Register};

use crate::address;
use crate::arena;
use crate::case::{Case, Patch};
use crate::family;
use crate::form::{Form, Prefix};
use crate::operand;
use crate::rng::Rng;
use crate::state::State;
use crate::values::{self, Flavour};

/// Tries until a form's random operands must have fitted an encoding.
const ATTEMPTS: u32 = 200;

/// RFLAGS of every case: the arithmetic flags and DF vary.
const FLAGS_FIXED: u64 = 0x202;
const FLAGS_ARITH: u64 = 0x8d5;
const FLAG_DF: u64 = 0x400;
const FLAG_AC: u64 = 1 << 18;

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
        operand::choose(&mut draft, index as u32, *kind)?;
    }
    draft.state.rip = arena::CODE;
    let plain = encode(&draft.instruction, form)?;
    let code = if draft.rng.chance(12) { with_idle_prefixes(draft.rng, form, &plain).unwrap_or(plain) } else { plain };
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
    state.rflags =
        FLAGS_FIXED | rng.next_u64() & FLAGS_ARITH | if rng.chance(15) { FLAG_DF } else { 0 } | if rng.chance(8) { FLAG_AC } else { 0 };
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

/// The same instruction behind prefixes that mean nothing to it, or only another flat segment.
fn with_idle_prefixes(rng: &mut Rng, form: &Form, (bytes, plain): &(Vec<u8>, Instruction)) -> Option<(Vec<u8>, Instruction)> {
    if plain.is_ip_rel_memory_operand() || plain.flow_control() != FlowControl::Next {
        // What is relative to the next instruction would move.
        return None;
    }
    let count = 1 + rng.below(2);
    let mut longer = (0..count).map(|_| rng.pick(&[0x26, 0x2e, 0x36, 0x3e, 0x66, 0xf2, 0xf3])).collect::<Vec<u8>>();
    longer.extend(bytes);
    let decoded = Decoder::with_ip(form.bits, &longer, arena::CODE, DecoderOptions::NONE).decode();
    let repeats = |instruction: &Instruction| instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let same = decoded.code() == form.code && decoded.len() == longer.len();
    let same_repetition =
        !form.code.is_string_instruction() || (repeats(&decoded), decoded.has_rep_prefix()) == (repeats(plain), plain.has_rep_prefix());
    let same_segment = form.bits == 32 || decoded.segment_prefix() == plain.segment_prefix();
    (same && same_repetition && same_segment).then_some((longer, decoded))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form;

    #[test]
    fn every_form_gets_cases_that_decode_to_it() {
        let forms = form::enumerate().covered;
        let mut prefixed = 0;
        for form in &forms {
            for number in 0..4 {
                let mut rng = Rng::for_case(3, form.number(), number);
                let case = case(form, &mut rng).unwrap_or_else(|| panic!("no case of {}", form.name()));
                assert_eq!(case.instruction.code(), form.code);
                assert!(case.bits == 64 || case.state.gpr.iter().all(|value| *value <= u64::from(u32::MAX)));
                let shortest = encode(&case.instruction, form).map_or(0, |(bytes, _)| bytes.len());
                prefixed += u32::from(case.code.len() > shortest);
            }
        }
        assert!(prefixed > 100, "only {prefixed} cases have a prefix that means nothing");
    }
}
