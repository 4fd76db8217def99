//! Why a processor stopped running.

use interp::device::{Access, Space};

/// An exit. After `Io`, `Mmio` and `IntAck` the caller answers (`Machine::answer`) before it runs the processor again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A port access.
    Io(Access),
    /// An access to physical memory that is no RAM.
    Mmio(Access),
    /// Halted, with nothing deliverable. The Local APIC's timer wakes it at the given guest time, if armed.
    Hlt { wake_ns: Option<u64> },
    /// The 8259's INTR was accepted; the answer is its vector.
    IntAck,
    /// A level-triggered vector was ended.
    Eoi(u8),
    /// The kick word was set.
    Kick,
    /// The instruction quantum or the deadline is reached.
    Budget,
    /// A host-made debug event.
    Debug,
    /// Triple fault.
    Shutdown,
    /// The engine cannot go on; `Machine::last_error` says why.
    Error,
}

impl Exit {
    /// Kinds in the order of their numbers in the exit page.
    pub const KINDS: [&'static str; 10] = ["io", "mmio", "hlt", "intack", "eoi", "kick", "budget", "debug", "shutdown", "error"];

    /// The kind's number in the exit page.
    pub fn kind(&self) -> usize {
        match self {
            Exit::Io(_) => 0,
            Exit::Mmio(_) => 1,
            Exit::Hlt { .. } => 2,
            Exit::IntAck => 3,
            Exit::Eoi(_) => 4,
            Exit::Kick => 5,
            Exit::Budget => 6,
            Exit::Debug => 7,
            Exit::Shutdown => 8,
            Exit::Error => 9,
        }
    }

    pub(crate) fn of_access(access: Access) -> Self {
        match access.space {
            Space::Port => Exit::Io(access),
            Space::Memory => Exit::Mmio(access),
        }
    }
}
