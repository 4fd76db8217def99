//! The operands of an instruction: registers, immediates, branch targets; memory is in [`crate::address`].

use iced_x86::{Mnemonic, OpCodeOperandKind as Kind, OpKind, Register};

use crate::address;
use crate::family;
use crate::generate::Draft;
use crate::values;

/// Chooses operand `index`, which is of `kind`; None when what was chosen cannot be encoded.
pub fn choose(draft: &mut Draft, index: u32, kind: Kind) -> Option<()> {
    use Register as R;
    let memory = draft.form.memory;
    let register = match kind {
        Kind::mem | Kind::mem_mib | Kind::mem_mpx => return address::general(draft, index),
        Kind::r8_or_mem
        | Kind::r16_or_mem
        | Kind::r32_or_mem
        | Kind::r64_or_mem
        | Kind::mm_or_mem
        | Kind::xmm_or_mem
        | Kind::r32_or_mem_mpx
        | Kind::r64_or_mem_mpx
        | Kind::bnd_or_mem_mpx
            if memory =>
        {
            return address::general(draft, index);
        }
        Kind::mem_offs => return address::absolute(draft, index),
        Kind::seg_rSI | Kind::es_rDI | Kind::seg_rDI => return address::string(draft, index, kind),
        Kind::seg_rBX_al => return address::table(draft, index),
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => byte_register(draft),
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => numbered(R::AX, draft.any_register()),
        Kind::bnd_reg | Kind::bnd_or_mem_mpx => numbered(R::BND0, draft.rng.below(4)),
        Kind::r32_or_mem | Kind::r32_or_mem_mpx | Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode => numbered(R::EAX, draft.any_register()),
        Kind::r64_or_mem | Kind::r64_or_mem_mpx | Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode => numbered(R::RAX, draft.any_register()),
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
