//! The forms of the model's instruction set in 64-bit and in 32-bit code: each iced-x86 `Code`, with its operand in a register and in
//! memory, alone and with the prefixes that change what it does.

use cpu::CpuModel;
use iced_x86::{Code, CpuidFeature, EncodingKind, Mnemonic, OpCodeInfo, OpCodeOperandKind as Kind};

use crate::excluded::{self, Reason};
use crate::guest::MODEL;

/// A prefix that makes another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prefix {
    None,
    Lock,
    Rep,
    Repne,
}

/// One form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub code: Code,
    /// The operand that may be either is in memory.
    pub memory: bool,
    pub prefix: Prefix,
    /// Size of the code segment: 64, or 32 (compatibility mode).
    pub bits: u32,
}

impl Form {
    /// The manual's text for the instruction, the operand kind and the prefix.
    pub fn name(&self) -> String {
        let place = match (self.memory, has_choice(self.code.op_code())) {
            (true, true) => " (memory)",
            (false, true) => " (register)",
            _ => "",
        };
        let prefix = match self.prefix {
            Prefix::None => "",
            Prefix::Lock => "LOCK ",
            Prefix::Rep => "REP ",
            Prefix::Repne => "REPNE ",
        };
        let mode = if self.bits == 64 { "" } else { " in 32-bit code" };
        format!("{prefix}{}{place} [{:?}]{mode}", self.code.op_code().instruction_string(), self.code)
    }

    /// A number that stays the same from run to run.
    pub fn number(&self) -> u64 {
        self.code as u64 * 16 + u64::from(self.bits == 32) * 8 + self.prefix as u64 * 2 + u64::from(self.memory)
    }
}

/// Forms to run, and instructions of the model that are not run, by reason.
pub struct Forms {
    pub covered: Vec<Form>,
    /// With the code size.
    pub excluded: Vec<(Code, u32, Reason)>,
}

/// Every form of the model.
pub fn enumerate() -> Forms {
    let model = model();
    let mut forms = Forms { covered: Vec::new(), excluded: Vec::new() };
    for bits in [64, 32] {
        for code in Code::values().filter(|code| in_model(*code, bits, &model)) {
            match excluded::reason(code, bits) {
                Some(reason) => forms.excluded.push((code, bits, reason)),
                None => forms.covered.extend(of_code(code, bits)),
            }
        }
    }
    forms
}

/// Forms that processors have and the model has not, as far as they have operands that cases can be made of.
pub fn enumerate_absent() -> Vec<Form> {
    let model = model();
    let lacks = |code: &Code| {
        let info = code.op_code();
        info.is_instruction() && info.encoding() == EncodingKind::Legacy && info.decoder_option() == 0 && !info.fwait()
    };
    [64, 32]
        .into_iter()
        .flat_map(|bits| {
            let model = &model;
            Code::values()
                .filter(lacks)
                .filter(move |code| code.op_code().is_available_in_mode(bits) && !in_model(*code, bits, model))
                .flat_map(move |code| of_code(code, bits))
        })
        .collect()
}

fn model() -> CpuModel {
    CpuModel::new(MODEL, "GenuineIntel", &[]).expect("the model under test exists")
}

/// True for an instruction that the model has in code of that size.
fn in_model(code: Code, bits: u32, model: &CpuModel) -> bool {
    let info = code.op_code();
    info.is_instruction()
        && info.is_available_in_mode(bits)
        && info.encoding() == EncodingKind::Legacy
        && info.decoder_option() == 0
        // FWAIT and another instruction under one name.
        && !info.fwait()
        && (if bits == 64 { info.intel_decoder64() } else { info.intel_decoder32() })
        && (is_hint(code) || code.cpuid_features().iter().all(|feature| has_feature(model, *feature)))
}

/// Instructions of later features that older processors execute as NOP.
fn is_hint(code: Code) -> bool {
    use Mnemonic as M;
    const HINTS: &[M] = &[
        M::Endbr32,
        M::Endbr64,
        M::Rdsspd,
        M::Rdsspq,
        M::Cldemote,
        M::Prefetch,
        M::Prefetchw,
        M::Prefetchwt1,
        M::Prefetchit0,
        M::Prefetchit1,
        M::Bndcl,
        M::Bndcn,
        M::Bndcu,
        M::Bndldx,
        M::Bndmk,
        M::Bndmov,
        M::Bndstx,
    ];
    HINTS.contains(&code.mnemonic())
}

fn has_feature(model: &CpuModel, feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    let name = match feature {
        F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::CPUID | F::MULTIBYTENOP | F::PAUSE | F::RDPMC => {
            return true;
        }
        F::FPU | F::FPU287 | F::FPU387 => "fpu",
        F::X64 => "lm",
        F::CMOV => "cmov",
        F::CX8 => "cx8",
        F::CMPXCHG16B => "cx16",
        F::CLFSH => "clflush",
        F::MMX => "mmx",
        F::FXSR => "fxsr",
        F::SSE => "sse",
        F::SSE2 => "sse2",
        F::SSE3 => "sse3",
        F::SSSE3 => "ssse3",
        F::SSE4_1 => "sse4_1",
        F::SSE4_2 => "sse4_2",
        F::POPCNT => "popcnt",
        F::AES => "aes",
        F::XSAVE => "xsave",
        F::FSGSBASE => "fsgsbase",
        F::MSR => "msr",
        F::TSC => "tsc",
        F::RDTSCP => "rdtscp",
        F::SYSCALL => "syscall",
        F::SEP => "sep",
        F::SMAP => "smap",
        _ => return false,
    };
    model.has(name)
}

/// Operands that are a register or memory.
fn is_choice(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::r8_or_mem
            | Kind::r16_or_mem
            | Kind::r32_or_mem
            | Kind::r64_or_mem
            | Kind::mm_or_mem
            | Kind::xmm_or_mem
            | Kind::r32_or_mem_mpx
            | Kind::r64_or_mem_mpx
            | Kind::bnd_or_mem_mpx
    )
}

fn has_choice(info: &OpCodeInfo) -> bool {
    info.op_kinds().iter().any(|kind| is_choice(*kind))
}

fn is_memory(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::mem | Kind::mem_offs | Kind::mem_mib | Kind::mem_mpx | Kind::seg_rSI | Kind::es_rDI | Kind::seg_rDI | Kind::seg_rBX_al
    )
}

fn of_code(code: Code, bits: u32) -> Vec<Form> {
    let info = code.op_code();
    let places: &[bool] = if has_choice(info) { &[false, true] } else { &[info.op_kinds().iter().any(|kind| is_memory(*kind))] };
    let mut forms = Vec::new();
    for &memory in places {
        let mut add = |prefix| forms.push(Form { code, memory, prefix, bits });
        add(Prefix::None);
        if memory && info.can_use_lock_prefix() {
            add(Prefix::Lock);
        }
        if info.can_use_rep_prefix() {
            add(Prefix::Rep);
        }
        if info.can_use_repne_prefix() {
            add(Prefix::Repne);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_their_number() {
        let forms = enumerate().covered;
        let numbers = forms.iter().map(Form::number).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(numbers.len(), forms.len());
    }

    #[test]
    fn the_model_and_the_code_size_decide_what_is_enumerated() {
        let forms = enumerate();
        let has = |code, bits| forms.covered.iter().any(|form| form.code == code && form.bits == bits);
        assert!(has(Code::Add_rm64_r64, 64) && has(Code::Popcnt_r64_rm64, 64) && has(Code::Aesenc_xmm_xmmm128, 32));
        assert!(!has(Code::VEX_Vaddps_xmm_xmm_xmmm128, 64) && !has(Code::Tzcnt_r64_rm64, 64));
        assert!(has(Code::Aaa, 32) && !has(Code::Aaa, 64) && !has(Code::Add_rm64_r64, 32));
    }
}
