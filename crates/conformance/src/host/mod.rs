//! The host processor as the reference: one instruction run in this process with all registers replaced.
//!
//! - [`memory`]: the arena's pages, mapped at their fixed addresses.
//! - [`enter`]: loads every register and jumps; the way back.
//! - [`signal`]: the breakpoint behind the instruction, or its fault, ends in a signal handler that keeps what it finds.
//!
//! There is one arena and one set of signal handlers in a process, so there is one [`Host`] too.

mod enter;
mod memory;
mod signal;

use std::sync::{Mutex, MutexGuard};

use crate::arena::CODE_PAGES;
use crate::case::Case;
use crate::state::{End, Outcome};

use cpu::Fault;
use cpu::fault::vector;

static ONLY: Mutex<()> = Mutex::new(());

/// Why the host cannot be the reference.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// The host processor, ready to run cases on the thread that made it.
pub struct Host {
    arena: memory::Arena,
    handlers: signal::Handlers,
    _only: MutexGuard<'static, ()>,
}

impl Host {
    /// Maps the arena and takes over the fault signals; waits until no other `Host` lives.
    pub fn new() -> Result<Self, Unavailable> {
        let only = ONLY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !has_fsgsbase() {
            return Err(Unavailable("the kernel does not let user code write FS and GS bases (FSGSBASE)".to_owned()));
        }
        let arena = memory::Arena::new()?;
        let handlers = signal::Handlers::install()?;
        Ok(Self { arena, handlers, _only: only })
    }

    /// Runs one case on `memory`, the arena's contents before it.
    pub fn run(&mut self, case: &Case, memory: &[u8]) -> Outcome {
        self.arena.write(memory);
        let caught = enter::run(&self.handlers, &case.state, case.bits);
        let start = case.state.rip;
        let mut state = caught.state;
        let at_breakpoint = caught.fault.vector == vector::BP;
        if at_breakpoint {
            state.rip = state.rip.wrapping_sub(1);
        }
        // A fault elsewhere is that of fetching where the instruction went.
        let end = if state.rip != start { End::Completed } else { End::Fault(caught.fault) };
        Outcome { end, state, memory: self.arena.read() }
    }
}

/// The vendor in CPUID: vendors differ where the manuals leave room.
pub fn vendor() -> String {
    let leaf = std::arch::x86_64::__cpuid(0);
    String::from_utf8_lossy(&[leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat()).into_owned()
}

/// The vendor whose answers the table of [`crate::undefined`] has been checked against.
pub const CHECKED_VENDOR: &str = "AuthenticAMD";

/// True when the processor has all of the instruction sets that the cases use.
pub fn missing_features() -> Vec<&'static str> {
    macro_rules! missing {
        ($($name:tt)*) => { [$((!std::arch::is_x86_feature_detected!($name)).then_some($name)),*].into_iter().flatten().collect() };
    }
    missing!["sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "aes" "cmpxchg16b" "fxsr" "xsave"]
}

fn has_fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: u64 = 2;
    // SAFETY: getauxval reads the process's own auxiliary vector and has no preconditions.
    (unsafe { libc::getauxval(libc::AT_HWCAP2) }) & HWCAP2_FSGSBASE != 0
}

/// The fault as the interpreter words it, from what the kernel keeps of it.
fn fault_of(trap: u64, error: u64, address: u64) -> Fault {
    let vector = trap as u8;
    match vector {
        vector::PF => Fault::page(address, error as u32),
        vector::DF | vector::TS | vector::NP | vector::SS | vector::GP | vector::AC => {
            Fault { vector, error: Some(error as u32), address: 0 }
        }
        _ => Fault { vector, error: None, address: 0 },
    }
}

const _: () = assert!(CODE_PAGES.start < CODE_PAGES.end, "code pages hold the breakpoints that end a case");
