//! The families of DESIGN.md, and what makes the cases of each interesting. A family that needs nothing beyond random
//! operands has no file.

mod atomic;
mod bit;
pub mod branch;
mod muldiv;
mod shift;
pub mod sse;
mod stack;
mod string;
mod system;
pub mod x87;

use iced_x86::{Code, CpuidFeature, MemorySize, Mnemonic, OpKind};

use crate::generate::Draft;
use crate::rng::Rng;
use crate::values::Flavour;

/// What a family adds to random operands.
pub struct Family {
    pub name: &'static str,
    /// Settles registers, the memory operand's place, the immediate: before operands are chosen.
    pub prepare: fn(&mut Draft),
    /// Adjusts values when the operands are known.
    pub finish: fn(&mut Draft),
}

fn nothing(_: &mut Draft) {}

const fn plain(name: &'static str) -> Family {
    Family { name, prepare: nothing, finish: nothing }
}

static ARITH: Family = plain("arith");
static LOGIC: Family = plain("logic");
static MOV: Family = plain("mov");
static FLAG: Family = plain("flag");
static SEGMENT: Family = plain("segment");
static CRYPTO: Family = Family { name: "crypto", ..sse::FAMILY };

/// The family of an instruction.
pub fn of(code: Code) -> &'static Family {
    use Mnemonic as M;
    if code.op_code().op_kinds().iter().any(|kind| matches!(kind, iced_x86::OpCodeOperandKind::seg_reg)) {
        return &SEGMENT;
    }
    for feature in code.cpuid_features() {
        match feature {
            CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387 => return &x87::FAMILY,
            CpuidFeature::AES => return &CRYPTO,
            CpuidFeature::FXSR | CpuidFeature::XSAVE | CpuidFeature::FSGSBASE => return &system::FAMILY,
            CpuidFeature::MMX
            | CpuidFeature::SSE
            | CpuidFeature::SSE2
            | CpuidFeature::SSE3
            | CpuidFeature::SSSE3
            | CpuidFeature::SSE4_1
            | CpuidFeature::SSE4_2 => return &sse::FAMILY,
            _ => {}
        }
    }
    if code.is_string_instruction() {
        return &string::FAMILY;
    }
    match code.mnemonic() {
        M::Add | M::Adc | M::Sub | M::Sbb | M::Cmp | M::Inc | M::Dec | M::Neg => &ARITH,
        M::And | M::Or | M::Xor | M::Test | M::Not => &LOGIC,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shld | M::Shrd => &shift::FAMILY,
        M::Bt | M::Bts | M::Btr | M::Btc | M::Bsf | M::Bsr | M::Popcnt => &bit::FAMILY,
        M::Mul | M::Imul | M::Div | M::Idiv => &muldiv::FAMILY,
        M::Push | M::Pop | M::Pushf | M::Pushfq | M::Popf | M::Popfq | M::Enter | M::Leave => &stack::FAMILY,
        M::Xadd | M::Cmpxchg | M::Cmpxchg8b | M::Cmpxchg16b => &atomic::FAMILY,
        M::Clc | M::Stc | M::Cmc | M::Cld | M::Std | M::Lahf | M::Sahf => &FLAG,
        _ if branch::is_branch(code) => &branch::FAMILY,
        _ => &MOV,
    }
}

/// What an instruction's memory and vector operands mean, mostly; sometimes something else.
pub fn flavour(code: Code, rng: &mut Rng) -> Flavour {
    let natural = match code.op_code().memory_size().element_type() {
        MemorySize::Float32 => Some(Flavour::Float32),
        MemorySize::Float64 => Some(Flavour::Float64),
        MemorySize::Int8 | MemorySize::UInt8 => Some(Flavour::Int8),
        MemorySize::Int16 | MemorySize::UInt16 => Some(Flavour::Int16),
        MemorySize::Int32 | MemorySize::UInt32 => Some(Flavour::Int32),
        MemorySize::Int64 | MemorySize::UInt64 => Some(Flavour::Int64),
        _ => None,
    };
    match natural {
        Some(natural) if rng.chance(85) => natural,
        _ => Flavour::any(rng),
    }
}

/// Makes operand 0 equal to operand 1, or one apart, where that is possible: comparisons and carries change there.
pub fn equalize(draft: &mut Draft) {
    if draft.instruction.op_count() < 2 || draft.instruction.op0_kind() != OpKind::Register {
        return;
    }
    let register = draft.instruction.op0_register();
    let off_by = draft.rng.between(-1, 1) as u64;
    if register.is_gpr() {
        let value = draft.operand_value(1).wrapping_add(off_by);
        draft.set_free(register.full_register().number(), value);
    } else if register.is_xmm() {
        sse::equalize(draft, register.number());
    }
}
