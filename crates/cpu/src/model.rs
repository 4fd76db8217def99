//! The frozen CPU models and CPUID (SDM 2A, CPUID).
//!
//! A model never changes once released: guests, snapshots and recordings depend on it. What a later version knows
//! more of becomes a new model or the next `@` revision.

use std::collections::BTreeMap;

use crate::paging::PHYS_BITS;

/// TSC ticks per second of every model: 80 crystal ticks' worth (CPUID leaf 15h).
pub const TSC_HZ: u64 = 2_000_000_000;
/// Crystal clock, which also drives the Local APIC timer, in Hz.
pub const CRYSTAL_HZ: u64 = 25_000_000;

/// Why a CPU model could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ModelError {
    /// No model of that name.
    #[error("unknown CPU model {0:?}; known: {known}", known = NAMES.join(", "))]
    Unknown(String),
    /// The vendor string is not 12 ASCII characters.
    #[error("CPUID vendor {0:?} must be exactly 12 ASCII characters")]
    Vendor(String),
    /// No feature of that name, or one that this engine cannot provide.
    #[error("CPU feature {name:?} is not available in this engine; available: {available}")]
    Feature { name: String, available: String },
    /// The feature is part of the architecture the engine relies on.
    #[error("CPU feature {0:?} cannot be removed")]
    Required(String),
}

/// Names of the frozen models.
pub const NAMES: &[&str] = &["x86-64-v2@1"];

/// A CPUID output register that holds feature bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Out {
    Ebx,
    Ecx,
    Edx,
}
use Out::{Ebx, Ecx, Edx};

/// A feature bit: its Linux name, where it stands, and whether the models have it by default.
struct Feature {
    name: &'static str,
    leaf: u32,
    subleaf: u32,
    out: Out,
    bit: u8,
    default: bool,
}

const fn has(name: &'static str, leaf: u32, out: Out, bit: u8) -> Feature {
    Feature { name, leaf, subleaf: 0, out, bit, default: true }
}

/// Every feature that the engine implements. `cpuid` leaf 7 bits are subleaf 0.
const FEATURES: &[Feature] = &[
    has("fpu", 1, Edx, 0),
    has("de", 1, Edx, 2),
    has("pse", 1, Edx, 3),
    has("tsc", 1, Edx, 4),
    has("msr", 1, Edx, 5),
    has("pae", 1, Edx, 6),
    has("cx8", 1, Edx, 8),
    has("apic", 1, Edx, 9),
    has("sep", 1, Edx, 11),
    has("mtrr", 1, Edx, 12),
    has("pge", 1, Edx, 13),
    has("cmov", 1, Edx, 15),
    has("pat", 1, Edx, 16),
    has("pse36", 1, Edx, 17),
    has("clflush", 1, Edx, 19),
    has("mmx", 1, Edx, 23),
    has("fxsr", 1, Edx, 24),
    has("sse", 1, Edx, 25),
    has("sse2", 1, Edx, 26),
    has("sse3", 1, Ecx, 0),
    has("ssse3", 1, Ecx, 9),
    has("cx16", 1, Ecx, 13),
    has("pcid", 1, Ecx, 17),
    has("sse4_1", 1, Ecx, 19),
    has("sse4_2", 1, Ecx, 20),
    has("x2apic", 1, Ecx, 21),
    has("popcnt", 1, Ecx, 23),
    has("tsc_deadline_timer", 1, Ecx, 24),
    has("aes", 1, Ecx, 25),
    has("xsave", 1, Ecx, 26),
    has("hypervisor", 1, Ecx, 31),
    has("fsgsbase", 7, Ebx, 0),
    has("tsc_adjust", 7, Ebx, 1),
    has("smep", 7, Ebx, 7),
    has("erms", 7, Ebx, 9),
    has("smap", 7, Ebx, 20),
    has("umip", 7, Ecx, 2),
    has("fsrm", 7, Edx, 4),
    has("spec_ctrl", 7, Edx, 26),
    has("flush_l1d", 7, Edx, 28),
    has("arch_capabilities", 7, Edx, 29),
    has("ssbd", 7, Edx, 31),
    has("lahf_lm", 0x8000_0001, Ecx, 0),
    has("syscall", 0x8000_0001, Edx, 11),
    has("nx", 0x8000_0001, Edx, 20),
    has("pdpe1gb", 0x8000_0001, Edx, 26),
    has("rdtscp", 0x8000_0001, Edx, 27),
    has("lm", 0x8000_0001, Edx, 29),
    has("constant_tsc", 0x8000_0007, Edx, 8),
];

/// Features without which the engine or a kernel's own start-up assumptions break.
const REQUIRED: &[&str] = &["fpu", "msr", "tsc"];

/// The four output registers of CPUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidResult {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// A CPU model with its overrides applied.
#[derive(Clone, Debug)]
pub struct CpuModel {
    name: &'static str,
    vendor: [u8; 12],
    /// Feature words by (leaf, subleaf).
    words: BTreeMap<(u32, u32), CpuidResult>,
}

impl CpuModel {
    /// The model `name` with `vendor` (12 ASCII characters) and features added (true) or removed (false) by Linux name.
    pub fn new(name: &str, vendor: &str, overrides: &[(String, bool)]) -> Result<Self, ModelError> {
        let name = NAMES.iter().copied().find(|known| *known == name).ok_or_else(|| ModelError::Unknown(name.to_owned()))?;
        let vendor = <[u8; 12]>::try_from(vendor.as_bytes())
            .ok()
            .filter(|bytes| bytes.is_ascii())
            .ok_or_else(|| ModelError::Vendor(vendor.to_owned()))?;
        let mut model = Self { name, vendor, words: BTreeMap::new() };
        for feature in FEATURES.iter().filter(|feature| feature.default) {
            model.set_feature(feature, true);
        }
        for (name, enabled) in overrides {
            let feature = FEATURES.iter().find(|feature| feature.name == name).ok_or_else(|| ModelError::Feature {
                name: name.clone(),
                available: FEATURES.iter().map(|feature| feature.name).collect::<Vec<_>>().join(" "),
            })?;
            if !enabled && REQUIRED.contains(&feature.name) {
                return Err(ModelError::Required(name.clone()));
            }
            model.set_feature(feature, *enabled);
        }
        Ok(model)
    }

    /// The frozen name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// CPUID.1:EAX, also EDX at reset: family 6, model 26, stepping 3.
    pub fn signature(&self) -> u32 {
        0x0001_06a3
    }

    /// True when the named feature (Linux flag name) is on.
    ///
    /// # Panics
    /// On a name that is not in the table: names are literals of ours.
    pub fn has(&self, name: &str) -> bool {
        let feature = FEATURES.iter().find(|feature| feature.name == name).expect("feature names are literals from the table");
        self.words.get(&(feature.leaf, feature.subleaf)).is_some_and(|word| word.get(feature.out) >> feature.bit & 1 != 0)
    }

    fn set_feature(&mut self, feature: &Feature, on: bool) {
        let word = self.words.entry((feature.leaf, feature.subleaf)).or_default().get_mut(feature.out);
        *word = *word & !(1 << feature.bit) | u32::from(on) << feature.bit;
    }

    /// IA32_ARCH_CAPABILITIES: not vulnerable to what the kernel would otherwise work around at great cost
    /// (RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
    /// PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO).
    pub fn arch_capabilities(&self) -> u64 {
        [0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62].iter().fold(0, |bits, bit| bits | 1 << bit)
    }

    /// CPUID. `dynamic` supplies what depends on the processor's state.
    pub fn cpuid(&self, leaf: u32, subleaf: u32, dynamic: CpuidState) -> CpuidResult {
        const MAX_BASIC: u32 = 0x16;
        const MAX_EXTENDED: u32 = 0x8000_0008;
        let leaf = match leaf {
            0x4000_0000..=0x4fff_ffff | 0x8000_0000..=MAX_EXTENDED => leaf,
            leaf if leaf <= MAX_BASIC => leaf,
            _ => MAX_BASIC,
        };
        let features = self.words.get(&(leaf, 0)).copied().unwrap_or_default();
        match leaf {
            0 => self.vendor_leaf(MAX_BASIC),
            1 => CpuidResult {
                eax: self.signature(),
                ebx: dynamic.apic_id << 24 | dynamic.logical_cpus << 16 | 8 << 8,
                ecx: features.ecx | if dynamic.osxsave { 1 << 27 } else { 0 },
                edx: features.edx | if dynamic.logical_cpus > 1 { 1 << 28 } else { 0 },
            },
            2 => CpuidResult { eax: 0x00ff_ff01, ..CpuidResult::default() },
            4 => cache_leaf(subleaf),
            6 => CpuidResult { eax: 1 << 2, ..CpuidResult::default() },
            7 if subleaf == 0 => features,
            0xb => topology_leaf(subleaf, dynamic),
            0xd => self.xsave_leaf(subleaf),
            0x15 => CpuidResult { eax: 1, ebx: (TSC_HZ / CRYSTAL_HZ) as u32, ecx: CRYSTAL_HZ as u32, edx: 0 },
            0x16 => CpuidResult { eax: (TSC_HZ / 1_000_000) as u32, ebx: (TSC_HZ / 1_000_000) as u32, ecx: 100, edx: 0 },
            0x4000_0000 => text_leaf(0x4000_0000, b"vmdeckvmdeck"),
            0x8000_0000 => CpuidResult { eax: MAX_EXTENDED, ..CpuidResult::default() },
            0x8000_0001 => features,
            0x8000_0002..=0x8000_0004 => brand_leaf(self.name, leaf - 0x8000_0002),
            0x8000_0006 => CpuidResult { ecx: 256 << 16 | 6 << 12 | 64, ..CpuidResult::default() },
            0x8000_0007 => features,
            0x8000_0008 => CpuidResult { eax: 48 << 8 | PHYS_BITS, ..CpuidResult::default() },
            _ => CpuidResult::default(),
        }
    }

    fn vendor_leaf(&self, max: u32) -> CpuidResult {
        let word = |at: usize| u32::from_le_bytes(self.vendor[at..at + 4].try_into().expect("a 4-byte slice of 12 bytes"));
        CpuidResult { eax: max, ebx: word(0), edx: word(4), ecx: word(8) }
    }

    fn xsave_leaf(&self, subleaf: u32) -> CpuidResult {
        if !self.has("xsave") || subleaf != 0 {
            return CpuidResult::default();
        }
        // x87 and SSE state in the legacy region and header: 576 bytes.
        CpuidResult { eax: 3, ebx: 576, ecx: 576, edx: 0 }
    }
}

/// What CPUID reports of the processor's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuidState {
    pub apic_id: u32,
    pub logical_cpus: u32,
    /// CR4.OSXSAVE.
    pub osxsave: bool,
}

impl CpuidResult {
    fn get(&self, out: Out) -> u32 {
        match out {
            Ebx => self.ebx,
            Ecx => self.ecx,
            Edx => self.edx,
        }
    }
    fn get_mut(&mut self, out: Out) -> &mut u32 {
        match out {
            Ebx => &mut self.ebx,
            Ecx => &mut self.ecx,
            Edx => &mut self.edx,
        }
    }
}

fn text_leaf(eax: u32, text: &[u8; 12]) -> CpuidResult {
    let word = |at: usize| u32::from_le_bytes(text[at..at + 4].try_into().expect("a 4-byte slice of 12 bytes"));
    CpuidResult { eax, ebx: word(0), ecx: word(4), edx: word(8) }
}

/// The 48-byte brand string, 16 bytes a leaf.
fn brand_leaf(name: &str, part: u32) -> CpuidResult {
    let mut text = [0u8; 48];
    let brand = format!("vmdeck {name}");
    text[..brand.len()].copy_from_slice(brand.as_bytes());
    let at = part as usize * 16;
    let word = |at: usize| u32::from_le_bytes(text[at..at + 4].try_into().expect("a 4-byte slice of 48 bytes"));
    CpuidResult { eax: word(at), ebx: word(at + 4), ecx: word(at + 8), edx: word(at + 12) }
}

/// Deterministic cache parameters: 32 KiB L1 data and instruction, 256 KiB L2, 8 MiB L3, 64-byte lines.
fn cache_leaf(subleaf: u32) -> CpuidResult {
    let (kind, level, ways, sets) = match subleaf {
        0 => (1, 1, 8, 64),
        1 => (2, 1, 8, 64),
        2 => (3, 2, 8, 512),
        3 => (3, 3, 16, 8192),
        _ => return CpuidResult::default(),
    };
    CpuidResult { eax: kind | level << 5 | 1 << 8, ebx: (ways - 1) << 22 | 63, ecx: sets - 1, edx: 0 }
}

/// Extended topology: one thread a core, every processor a core of one package.
fn topology_leaf(subleaf: u32, state: CpuidState) -> CpuidResult {
    let cores = state.logical_cpus.max(1);
    let bits = cores.next_power_of_two().trailing_zeros();
    match subleaf {
        0 => CpuidResult { eax: 0, ebx: 1, ecx: 1 << 8, edx: state.apic_id },
        1 => CpuidResult { eax: bits, ebx: cores, ecx: 2 << 8 | 1, edx: state.apic_id },
        n => CpuidResult { eax: 0, ebx: 0, ecx: n & 0xff, edx: state.apic_id },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_change_exactly_their_bit() {
        let plain = CpuModel::new("x86-64-v2@1", "GenuineIntel", &[]).expect("known");
        let less = CpuModel::new("x86-64-v2@1", "GenuineIntel", &[("aes".into(), false)]).expect("known");
        assert!(plain.has("aes") && !less.has("aes"));
        let ecx = |model: &CpuModel| model.cpuid(1, 0, CpuidState::default()).ecx;
        assert_eq!(ecx(&plain) ^ ecx(&less), 1 << 25);
    }

    #[test]
    fn bad_models_are_refused_by_name() {
        assert!(matches!(CpuModel::new("pentium", "GenuineIntel", &[]), Err(ModelError::Unknown(_))));
        assert!(matches!(CpuModel::new("x86-64-v2@1", "short", &[]), Err(ModelError::Vendor(_))));
        assert!(matches!(CpuModel::new("x86-64-v2@1", "GenuineIntel", &[("avx512f".into(), true)]), Err(ModelError::Feature { .. })));
        assert!(matches!(CpuModel::new("x86-64-v2@1", "GenuineIntel", &[("tsc".into(), false)]), Err(ModelError::Required(_))));
    }

    #[test]
    fn vendor_and_brand_read_back() {
        let model = CpuModel::new("x86-64-v2@1", "AuthenticAMD", &[]).expect("known");
        let leaf = model.cpuid(0, 0, CpuidState::default());
        let text: Vec<u8> = [leaf.ebx, leaf.edx, leaf.ecx].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(text, b"AuthenticAMD");
        assert_eq!(&model.cpuid(0x8000_0002, 0, CpuidState::default()).eax.to_le_bytes(), b"vmde");
    }
}
