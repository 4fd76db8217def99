//! One processor as the interpreter sees it: architectural state, memory, its Local APIC, and what is pending.

use std::rc::Rc;

use cpu::{Cpu, Fault, GuestClock};
use guest_mem::GuestMem;
use lapic::{Delivered, LocalApic, Now};

use crate::device::DeviceAccess;

/// Why a handler did not complete its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// [`Core::fault`] is to be delivered; nothing has changed.
    Fault,
    /// [`Core::device`] holds an access that needs an answer; the instruction will run again.
    Exit,
    /// Delivery of an exception failed three times over: shutdown.
    Shutdown,
}

/// What a handler returns.
pub type Exec<T = ()> = Result<T, Stop>;

/// What decides whether a single-step trap follows the instruction that has just completed (SDM 3B, 17.3.1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingleStep {
    /// TF as it was before the instruction.
    #[default]
    ByFlagBefore,
    /// TF as the instruction left it (SYSCALL, SYSRET).
    ByFlagAfter,
    /// None follows (MOV SS, POP SS, INT n).
    Never,
}

/// Things for the run loop to look at between blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// Leave the current block after this instruction: code was written, an answer was used, an interrupt may be due.
    pub leave_block: bool,
    /// HLT was executed and nothing has woken the processor yet.
    pub halted: bool,
    /// Interrupts are held off for one more instruction (after STI, MOV SS, POP SS).
    pub interrupt_shadow: bool,
    /// Whether the last instruction is followed by a single-step trap.
    pub single_step: SingleStep,
    /// An NMI waits.
    pub nmi_pending: bool,
    /// NMIs are blocked until the next IRET.
    pub nmi_blocked: bool,
}

/// One processor.
pub struct Core {
    pub cpu: Cpu,
    pub mem: Rc<GuestMem>,
    pub lapic: LocalApic,
    pub clock: Rc<GuestClock>,
    /// The exception that `Stop::Fault` announces.
    pub fault: Fault,
    pub device: DeviceAccess,
    pub attention: Attention,
    /// Instructions retired before the current block.
    pub retired: u64,
    /// Position of the executing instruction in its block.
    pub position: u8,
    /// Iterations a `rep` instruction may still make before the run loop must look around; at least 1 when it starts.
    pub rep_budget: u32,
    /// Iterations beyond the first that a `rep` instruction has completed, for the run loop to count.
    pub rep_retired: u32,
    /// Number of processors in the machine, for CPUID.
    pub cpus: u32,
    pub interrupts_delivered: u64,
    pub exceptions_delivered: u64,
}

impl Core {
    /// A processor at power-on.
    pub fn new(cpu: Cpu, mem: Rc<GuestMem>, lapic: LocalApic, clock: Rc<GuestClock>, cpus: u32) -> Self {
        Self {
            cpu,
            mem,
            lapic,
            clock,
            fault: Fault::UD,
            device: DeviceAccess::default(),
            attention: Attention::default(),
            retired: 0,
            position: 0,
            rep_budget: 1,
            rep_retired: 0,
            cpus,
            interrupts_delivered: 0,
            exceptions_delivered: 0,
        }
    }

    /// Records an exception; return its `Stop` from the handler.
    #[cold]
    pub fn raise(&mut self, fault: Fault) -> Stop {
        self.fault = fault;
        Stop::Fault
    }

    /// Makes the run loop look around after this instruction.
    #[inline(always)]
    pub fn leave_block(&mut self) {
        self.attention.leave_block = true;
    }

    /// Number of the executing instruction: how many have retired before it.
    fn instruction_number(&self) -> u64 {
        self.retired + u64::from(self.position) + u64::from(self.rep_retired)
    }

    /// Guest time at the executing instruction. The TSC includes IA32_TSC_ADJUST.
    pub fn now(&self) -> Now {
        let ns = self.clock.ns(self.instruction_number());
        Now { ns, tsc: GuestClock::tsc_at(ns).wrapping_add(self.cpu.msr.tsc_adjust) }
    }

    /// Takes in what an APIC hands to the processor.
    pub fn accept(&mut self, delivered: Delivered) {
        match delivered {
            Delivered::Nmi => self.attention.nmi_pending = true,
            // INIT and start-up of the one processor that runs, and SMM, which no model has, change nothing; a
            // fixed vector stands in the APIC, and the 8259's is polled.
            Delivered::Fixed(_) | Delivered::Smi | Delivered::Init | Delivered::Startup(_) | Delivered::ExtInt => {}
        }
        self.leave_block();
    }
}

impl lapic::TscClock for Core {
    fn ns_of_tsc(&self, tsc: u64) -> u64 {
        let adjust = self.cpu.msr.tsc_adjust;
        if adjust == 0 {
            return GuestClock::ns_of_tsc(tsc);
        }
        // The adjustment counts modulo 2^64, so that only the distance from now tells past from future.
        let now = self.now().tsc;
        let Some(ahead) = tsc.checked_sub(now) else { return 0 };
        now.wrapping_sub(adjust).checked_add(ahead).map_or(u64::MAX, GuestClock::ns_of_tsc)
    }
}
