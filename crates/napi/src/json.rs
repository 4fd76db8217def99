//! Options, registers and statistics as JSON. 64-bit values are hexadecimal strings ("0x..."), which JavaScript reads as BigInt.

use cpu::model;
use cpu::segment::{Segment, TableRegister};
use serde::{Deserialize, Serialize};
use vcpu::{Config, Exit, MachineError, Registers, Stats};

/// `EngineOptions` of `src/native/engine.ts`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    memory_bytes: f64,
    cpus: u32,
    cpu_model: String,
    vendor: String,
    features: Vec<Feature>,
    engine: String,
}

#[derive(Deserialize)]
struct Feature {
    name: String,
    enabled: bool,
}

/// Engines that this addon has.
const ENGINES: &[&str] = &["interp"];

/// Reads the options of a machine.
pub fn parse_options(text: &str) -> Result<Config, String> {
    let options: Options = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !ENGINES.contains(&options.engine.as_str()) {
        return Err(format!("no engine {:?}; this addon has {}", options.engine, ENGINES.join(", ")));
    }
    Ok(Config {
        memory_bytes: options.memory_bytes as usize,
        cpus: options.cpus,
        cpu_model: options.cpu_model,
        vendor: options.vendor,
        features: options.features.into_iter().map(|feature| (feature.name, feature.enabled)).collect(),
    })
}

/// The `VM_...` code of an error in making a machine.
pub fn code_of(error: &MachineError) -> &'static str {
    match error {
        MachineError::Model(_) => "VM_CPU_UNKNOWN",
        MachineError::Memory(_) | MachineError::Cpus(_) => "VM_CONFIG_INVALID",
    }
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

fn unhex(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or_else(|| format!("{text:?} is not a hexadecimal number"))?;
    u64::from_str_radix(digits, 16).map_err(|error| format!("{text:?}: {error}"))
}

#[derive(Serialize, Deserialize)]
struct SegmentJson {
    selector: u16,
    base: String,
    limit: u32,
    attributes: u32,
}

#[derive(Serialize, Deserialize)]
struct TableJson {
    base: String,
    limit: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistersJson {
    gpr: Vec<String>,
    rip: String,
    rflags: String,
    cr0: String,
    cr2: String,
    cr3: String,
    cr4: String,
    cr8: String,
    efer: String,
    apic_base: String,
    segments: Vec<SegmentJson>,
    gdtr: TableJson,
    idtr: TableJson,
}

fn table(register: &TableRegister) -> TableJson {
    TableJson { base: hex(register.base), limit: register.limit }
}

/// `Registers` of `src/native/engine.ts`.
pub fn registers(registers: &Registers) -> String {
    let json = RegistersJson {
        gpr: registers.gpr.iter().copied().map(hex).collect(),
        rip: hex(registers.rip),
        rflags: hex(registers.rflags),
        cr0: hex(registers.cr0),
        cr2: hex(registers.cr2),
        cr3: hex(registers.cr3),
        cr4: hex(registers.cr4),
        cr8: hex(registers.cr8),
        efer: hex(registers.efer),
        apic_base: hex(registers.apic_base),
        segments: registers
            .segments
            .iter()
            .map(|segment| SegmentJson {
                selector: segment.selector,
                base: hex(segment.base),
                limit: segment.limit,
                attributes: segment.access.0,
            })
            .collect(),
        gdtr: table(&registers.gdtr),
        idtr: table(&registers.idtr),
    };
    serde_json::to_string(&json).expect("plain data always serializes")
}

/// Reads `Registers`.
pub fn parse_registers(text: &str) -> Result<Registers, String> {
    let json: RegistersJson = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let gpr = json.gpr.iter().map(|value| unhex(value)).collect::<Result<Vec<_>, _>>()?;
    let segments = json
        .segments
        .iter()
        .map(|segment| Ok(Segment::new(segment.selector, unhex(&segment.base)?, segment.limit, segment.attributes)))
        .collect::<Result<Vec<_>, String>>()?;
    let read_table = |table: &TableJson| Ok::<_, String>(TableRegister { base: unhex(&table.base)?, limit: table.limit });
    Ok(Registers {
        gpr: gpr.try_into().map_err(|_| "gpr must have 16 values")?,
        rip: unhex(&json.rip)?,
        rflags: unhex(&json.rflags)?,
        cr0: unhex(&json.cr0)?,
        cr2: unhex(&json.cr2)?,
        cr3: unhex(&json.cr3)?,
        cr4: unhex(&json.cr4)?,
        cr8: unhex(&json.cr8)?,
        efer: unhex(&json.efer)?,
        apic_base: unhex(&json.apic_base)?,
        segments: segments.try_into().map_err(|_| "segments must have 8 entries")?,
        gdtr: read_table(&json.gdtr)?,
        idtr: read_table(&json.idtr)?,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsJson {
    instructions: u64,
    interrupts_delivered: u64,
    exceptions_delivered: u64,
    blocks_decoded: u64,
    blocks_invalidated: u64,
    tlb_misses: u64,
    exits: [u64; Exit::KINDS.len()],
}

/// `EngineStats` of `src/native/engine.ts`.
pub fn stats(stats: &Stats) -> String {
    let json = StatsJson {
        instructions: stats.instructions,
        interrupts_delivered: stats.interrupts_delivered,
        exceptions_delivered: stats.exceptions_delivered,
        blocks_decoded: stats.blocks_decoded,
        blocks_invalidated: stats.blocks_invalidated,
        tlb_misses: stats.tlb_misses,
        exits: stats.exits,
    };
    serde_json::to_string(&json).expect("plain data always serializes")
}

/// What this addon is.
pub fn engine_info() -> String {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "arch": std::env::consts::ARCH,
        "os": std::env::consts::OS,
        "engines": ENGINES,
        "cpuModels": model::NAMES,
        "hostFeatures": host_features(),
    })
    .to_string()
}

/// Features of the host's processor that an engine can use. The interpreter needs none; guests never see them.
#[cfg(target_arch = "x86_64")]
fn host_features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
    }
    let known = present!("sse4.2" "popcnt" "aes" "pclmulqdq" "sha" "avx" "avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt" "adx" "rdrand" "rdseed" "avx512f" "avx512vl");
    known.into_iter().filter_map(|(name, here)| here.then_some(name)).collect()
}

/// As above, on processors whose features no engine asks for yet.
#[cfg(not(target_arch = "x86_64"))]
fn host_features() -> Vec<&'static str> {
    Vec::new()
}
