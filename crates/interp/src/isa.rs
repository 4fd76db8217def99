//! Which instructions a CPU model has: those of a feature that is off are undefined opcodes.
//!
//! TZCNT and LZCNT have no entry: without BMI1 and LZCNT their encodings are BSF and BSR (SDM 2A, BSF), which is what
//! the `bit` family makes of them.

use cpu::CpuModel;
use decode::Selected;
use iced_x86::{CpuidFeature, Instruction};

use crate::{Handler, ends, select, undefined};

/// As [`select`], for a processor of `model`.
pub fn selector(model: &CpuModel) -> impl Fn(&Instruction) -> Selected<Handler> + '_ {
    |instruction| if has(model, instruction) { select(instruction) } else { ends(undefined) }
}

fn has(model: &CpuModel, instruction: &Instruction) -> bool {
    instruction.cpuid_features().iter().all(|&feature| feature_name(feature).is_none_or(|name| model.has(name)))
}

/// The model's name of a feature that can be off; none for what every model has, and for what no family implements.
fn feature_name(feature: CpuidFeature) -> Option<&'static str> {
    Some(match feature {
        CpuidFeature::AES => "aes",
        CpuidFeature::CLFSH => "clflush",
        CpuidFeature::CMOV => "cmov",
        CpuidFeature::CMPXCHG16B => "cx16",
        CpuidFeature::CX8 => "cx8",
        CpuidFeature::FSGSBASE => "fsgsbase",
        CpuidFeature::FXSR => "fxsr",
        CpuidFeature::MMX => "mmx",
        CpuidFeature::POPCNT => "popcnt",
        CpuidFeature::RDTSCP => "rdtscp",
        CpuidFeature::SEP => "sep",
        CpuidFeature::SMAP => "smap",
        CpuidFeature::SSE => "sse",
        CpuidFeature::SSE2 => "sse2",
        CpuidFeature::SSE3 => "sse3",
        CpuidFeature::SSSE3 => "ssse3",
        CpuidFeature::SSE4_1 => "sse4_1",
        CpuidFeature::SSE4_2 => "sse4_2",
        CpuidFeature::SYSCALL => "syscall",
        CpuidFeature::XSAVE => "xsave",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    #[test]
    fn an_instruction_goes_with_its_feature() {
        let model = |overrides: &[(&str, bool)]| {
            let overrides: Vec<_> = overrides.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect();
            CpuModel::new("x86-64-v2@1", "GenuineIntel", &overrides).expect("known model and features")
        };
        let decode = |bytes: &[u8]| Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        let aesenc = decode(&[0x66, 0x0f, 0x38, 0xdc, 0xc1]);
        let popcnt = decode(&[0xf3, 0x0f, 0xb8, 0xc1]);
        assert!(has(&model(&[]), &aesenc) && has(&model(&[]), &popcnt));
        assert!(!has(&model(&[("aes", false)]), &aesenc) && has(&model(&[("aes", false)]), &popcnt));
        assert!(!has(&model(&[("popcnt", false)]), &popcnt));
    }
}
