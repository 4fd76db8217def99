//! The record of one decoded instruction.

use cpu::{RIP, ZERO, segment};
use iced_x86::{Code, Instruction, OpKind, Register};

/// Added to the number of a byte register that is bits 8..15 of RAX, RCX, RDX or RBX.
pub const HIGH_BYTE: u8 = 0x10;

/// Prefixes and shape of an instruction.
pub mod prefix {
    pub const REP: u8 = 1;
    pub const REPNE: u8 = 2;
    pub const LOCK: u8 = 4;
    /// One operand is memory by ModRM (or moffs).
    pub const MEMORY: u8 = 8;
}

/// One decoded instruction, position-independent: 40 bytes with a handler of one pointer.
///
/// Registers are numbered by their encoding within their class; byte registers AH CH DH BH are
/// `HIGH_BYTE | 0..3`. `base` and `index` are indices into `Cpu::regs` (`ZERO` where absent, `RIP` for RIP-relative).
#[derive(Clone, Copy, Debug)]
pub struct Op<H> {
    pub handler: H,
    /// Immediate, sign-extended; for near branches the displacement from the next instruction; for `moffs` operands
    /// the absolute offset; for far pointers selector << 32 | offset.
    pub imm: u64,
    /// Memory displacement; for RIP-relative operands relative to the next instruction.
    pub disp: i32,
    pub base: u8,
    pub index: u8,
    /// log2 of the index scale.
    pub scale: u8,
    /// Segment of the memory operand: index into `Cpu::seg`.
    pub seg: u8,
    /// First register operand.
    pub dst: u8,
    /// Second register operand.
    pub src: u8,
    /// Third register operand; second immediate of ENTER, EXTRQ.
    pub third: u8,
    /// Bytes of the instruction.
    pub length: u8,
    /// Offset of the next instruction from the start of the block.
    pub end: u16,
    /// Position in the block.
    pub position: u8,
    /// Address size: 0 = 16 bits, 1 = 32, 2 = 64.
    pub address_size: u8,
    /// Bits of [`prefix`].
    pub prefix: u8,
}

impl<H> Op<H> {
    /// True when any of the bits of [`prefix`] in `mask` is set.
    pub fn has(&self, mask: u8) -> bool {
        self.prefix & mask != 0
    }
    /// Mask of the effective address.
    #[inline(always)]
    pub fn address_mask(&self) -> u64 {
        [0xffff, 0xffff_ffff, u64::MAX, u64::MAX][self.address_size as usize & 3]
    }
}

/// Number of a register within its class.
pub fn register_number(register: Register) -> u8 {
    if register.is_gpr8() {
        // AH CH DH BH are full-register 0..3 with a high-byte mark.
        return match register {
            Register::AH => HIGH_BYTE,
            Register::CH => HIGH_BYTE | 1,
            Register::DH => HIGH_BYTE | 2,
            Register::BH => HIGH_BYTE | 3,
            other => other.full_register().number() as u8,
        };
    }
    register.number() as u8
}

/// Packs an instruction's operands. `handler`, `end` and `position` are set by block forming.
pub fn pack<H>(instruction: &Instruction, handler: H, code_bits: u8) -> Op<H> {
    let mut op = Op {
        handler,
        imm: 0,
        disp: 0,
        base: ZERO,
        index: ZERO,
        scale: 0,
        seg: segment::DS as u8,
        dst: 0,
        src: 0,
        third: 0,
        length: instruction.len() as u8,
        end: 0,
        position: 0,
        address_size: 0,
        prefix: 0,
    };
    op.address_size = match code_bits {
        64 => 2,
        32 => 1,
        _ => 0,
    };
    op.address_size = counter_size(instruction.code()).unwrap_or(op.address_size);
    let mut registers = [0u8; 4];
    let mut count = 0;
    for index in 0..instruction.op_count() {
        match instruction.op_kind(index) {
            OpKind::Register => {
                if count < registers.len() {
                    registers[count] = register_number(instruction.op_register(index));
                    count += 1;
                }
            }
            OpKind::NearBranch16 => op.imm = instruction.near_branch16().wrapping_sub(instruction.next_ip() as u16) as i16 as u64,
            OpKind::NearBranch32 => op.imm = instruction.near_branch32().wrapping_sub(instruction.next_ip() as u32) as i32 as u64,
            OpKind::NearBranch64 => op.imm = instruction.near_branch64().wrapping_sub(instruction.next_ip()),
            OpKind::FarBranch16 => op.imm = u64::from(instruction.far_branch_selector()) << 32 | u64::from(instruction.far_branch16()),
            OpKind::FarBranch32 => op.imm = u64::from(instruction.far_branch_selector()) << 32 | u64::from(instruction.far_branch32()),
            OpKind::Immediate8_2nd => op.third = instruction.immediate8_2nd(),
            OpKind::Memory => pack_memory(instruction, &mut op, code_bits),
            OpKind::MemorySegSI
            | OpKind::MemorySegESI
            | OpKind::MemorySegRSI
            | OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI => pack_string(instruction, instruction.op_kind(index), &mut op, code_bits),
            _ => op.imm = instruction.immediate(index),
        }
    }
    [op.dst, op.src] = [registers[0], registers[1]];
    if count > 2 {
        op.third = registers[2];
    }
    if instruction.has_rep_prefix() {
        op.prefix |= prefix::REP;
    }
    if instruction.has_repne_prefix() {
        op.prefix |= prefix::REPNE;
    }
    if instruction.has_lock_prefix() {
        op.prefix |= prefix::LOCK;
    }
    op
}

/// The address size of the branches that have one without a memory operand: it is the width of their counter.
fn counter_size(code: Code) -> Option<u8> {
    use Code::*;
    Some(match code {
        Jcxz_rel8_16 | Jcxz_rel8_32 | Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX | Loopne_rel8_16_CX
        | Loopne_rel8_32_CX => 0,
        Jecxz_rel8_16 | Jecxz_rel8_32 | Jecxz_rel8_64 | Loop_rel8_16_ECX | Loop_rel8_32_ECX | Loop_rel8_64_ECX | Loope_rel8_16_ECX
        | Loope_rel8_32_ECX | Loope_rel8_64_ECX | Loopne_rel8_16_ECX | Loopne_rel8_32_ECX | Loopne_rel8_64_ECX => 1,
        Jrcxz_rel8_16 | Jrcxz_rel8_64 | Loop_rel8_16_RCX | Loop_rel8_64_RCX | Loope_rel8_16_RCX | Loope_rel8_64_RCX
        | Loopne_rel8_16_RCX | Loopne_rel8_64_RCX => 2,
        _ => return None,
    })
}

fn pack_memory<H>(instruction: &Instruction, op: &mut Op<H>, code_bits: u8) {
    op.prefix |= prefix::MEMORY;
    op.seg = memory_segment(instruction, code_bits);
    let base = instruction.memory_base();
    let index = instruction.memory_index();
    if instruction.is_ip_rel_memory_operand() {
        op.base = RIP;
        op.address_size = if base == Register::EIP { 1 } else { 2 };
        op.disp = instruction.memory_displacement64().wrapping_sub(instruction.next_ip()) as i32;
        return;
    }
    if base == Register::None && index == Register::None {
        // An absolute address: 64-bit moffs do not fit in `disp`.
        op.address_size = match instruction.memory_displ_size() {
            2 => 0,
            4 => 1,
            8 => 2,
            _ => op.address_size,
        };
        op.disp = instruction.memory_displacement64() as i32;
        op.imm = instruction.memory_displacement64();
        return;
    }
    let by = if base == Register::None { index } else { base };
    op.address_size = match by.size() {
        2 => 0,
        4 => 1,
        _ => 2,
    };
    if base != Register::None {
        op.base = base.number() as u8;
    }
    if index != Register::None && !index.is_vector_register() {
        op.index = index.number() as u8;
        op.scale = instruction.memory_index_scale().trailing_zeros() as u8;
    }
    op.disp = instruction.memory_displacement64() as i32;
}

/// String operands: the segment of the source and the address size are all there is.
fn pack_string<H>(instruction: &Instruction, kind: OpKind, op: &mut Op<H>, code_bits: u8) {
    op.address_size = match kind {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => 0,
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => 1,
        _ => 2,
    };
    if !matches!(kind, OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI) {
        op.seg = memory_segment(instruction, code_bits);
    }
}

fn memory_segment(instruction: &Instruction, code_bits: u8) -> u8 {
    let index = match instruction.memory_segment() {
        Register::ES => segment::ES,
        Register::CS => segment::CS,
        Register::SS => segment::SS,
        Register::FS => segment::FS,
        Register::GS => segment::GS,
        _ => segment::DS,
    };
    (match index {
        segment::FS | segment::GS => index,
        _ if code_bits != 64 => index,
        segment::SS => segment::FLAT_STACK,
        _ => segment::FLAT,
    }) as u8
}
