//! A machine: RAM, one clock, its processors, and the system bus between their Local APICs.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cpu::model::CRYSTAL_HZ;
use cpu::paging::PHYS_BITS;
use cpu::{Cpu, CpuModel, GuestClock, ModelError};
use decode::BlockCache;
use guest_mem::{GuestMem, Kind, MemError};
use interp::{Core, Handler};
use lapic::{Config as ApicConfig, Delivered, Delivery, Lint, LocalApic, Message, Outgoing, Target, Trigger};

use crate::exit::Exit;
use crate::lookup::JumpCache;

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of RAM, a multiple of 4096.
    pub memory_bytes: usize,
    /// Processors, 1 to 64.
    pub cpus: u32,
    /// Frozen model name.
    pub cpu_model: String,
    /// CPUID vendor, 12 ASCII characters.
    pub vendor: String,
    /// Feature overrides by Linux name.
    pub features: Vec<(String, bool)>,
}

/// Why a machine could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// RAM or a mapping.
    #[error(transparent)]
    Memory(#[from] MemError),
    /// The CPU model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The number of processors.
    #[error("{0} processors are outside 1 to 64")]
    Cpus(u32),
}

/// One processor with its caches.
pub(crate) struct Vcpu {
    pub core: Core,
    pub jumps: JumpCache,
    /// The 8259's answer to the last `IntAck`.
    pub acknowledged: Option<u8>,
    /// What the last exit waits for.
    pub waiting: Option<Exit>,
}

/// Counters since power-on.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub instructions: u64,
    pub interrupts_delivered: u64,
    pub exceptions_delivered: u64,
    pub blocks_decoded: u64,
    pub blocks_invalidated: u64,
    pub tlb_misses: u64,
    /// By [`Exit::kind`].
    pub exits: [u64; 10],
}

/// A machine's processors and memory.
pub struct Machine {
    pub(crate) mem: Rc<GuestMem>,
    pub(crate) clock: Rc<GuestClock>,
    pub(crate) blocks: BlockCache<Handler>,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) kick: Arc<AtomicBool>,
    pub(crate) exits: [u64; 10],
    pub(crate) error: String,
}

impl Machine {
    /// A machine at power-on, all of its physical address space unmapped.
    pub fn new(config: &Config) -> Result<Self, MachineError> {
        if !(1..=64).contains(&config.cpus) {
            return Err(MachineError::Cpus(config.cpus));
        }
        let model = CpuModel::new(&config.cpu_model, &config.vendor, &config.features)?;
        let mem = Rc::new(GuestMem::new(config.memory_bytes)?);
        let clock = Rc::new(GuestClock::default());
        let vcpus = (0..config.cpus)
            .map(|id| {
                let apic = LocalApic::new(ApicConfig {
                    apic_id: id,
                    bootstrap: id == 0,
                    timer_hz: CRYSTAL_HZ,
                    physical_address_bits: PHYS_BITS as u8,
                });
                let core = Core::new(Cpu::new(model.clone()), Rc::clone(&mem), apic, Rc::clone(&clock), config.cpus);
                Vcpu { core, jumps: JumpCache::default(), acknowledged: None, waiting: None }
            })
            .collect();
        Ok(Self { mem, clock, blocks: BlockCache::default(), vcpus, kick: Arc::default(), exits: [0; 10], error: String::new() })
    }

    /// Guest RAM and the physical address map.
    pub fn memory(&self) -> &GuestMem {
        &self.mem
    }

    /// Maps guest-physical memory; see [`GuestMem::set_mapping`]. Every cached translation is dropped.
    pub fn map(&mut self, address: u64, length: u64, kind: Kind, ram_offset: u64) -> Result<(), MachineError> {
        self.mem.set_mapping(address, length, kind, ram_offset)?;
        for vcpu in &mut self.vcpus {
            vcpu.core.cpu.tlb.flush();
        }
        Ok(())
    }

    /// The word that makes a running processor exit with [`Exit::Kick`]; may be set from any thread.
    pub fn kick_word(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.kick)
    }

    /// Sets the kick word.
    pub fn kick(&self) {
        self.kick.store(true, Ordering::Release);
    }

    /// Answers the exit that processor `vcpu` waits on: the data of a read, the vector of an `IntAck`.
    pub fn answer(&mut self, vcpu: usize, data: u64) {
        let Some(vcpu) = self.vcpus.get_mut(vcpu) else { return };
        match vcpu.waiting.take() {
            Some(Exit::Io(_) | Exit::Mmio(_)) => vcpu.core.device.answer(data),
            Some(Exit::IntAck) => vcpu.acknowledged = Some(data as u8),
            _ => {}
        }
    }

    /// True while the last exit of `vcpu` waits for an answer.
    pub fn is_waiting(&self, vcpu: usize) -> bool {
        self.vcpus.get(vcpu).is_some_and(|vcpu| matches!(vcpu.waiting, Some(Exit::Io(_) | Exit::Mmio(_) | Exit::IntAck)))
    }

    /// Instructions retired by all processors since power-on.
    pub fn instructions(&self) -> u64 {
        self.vcpus.iter().map(|vcpu| vcpu.core.retired).sum()
    }

    /// Guest time in nanoseconds.
    pub fn guest_ns(&self) -> u64 {
        self.clock.ns(self.instructions())
    }

    /// Starts a new piece of the guest clock at the current instruction.
    pub fn anchor_clock(&mut self, ns: u64, slope_ps: u32) {
        self.clock.anchor(self.instructions(), ns, slope_ps);
    }

    /// Level of the 8259's INTR wire.
    pub fn set_intr(&mut self, vcpu: usize, high: bool) {
        if let Some(vcpu) = self.vcpus.get_mut(vcpu)
            && let Some(delivered) = vcpu.core.lapic.set_lint(Lint::Lint0, high)
        {
            vcpu.core.accept(delivered);
        }
    }

    /// Pulses the NMI wire.
    pub fn nmi(&mut self, vcpu: usize) {
        let Some(vcpu) = self.vcpus.get_mut(vcpu) else { return };
        for level in [true, false] {
            if let Some(delivered) = vcpu.core.lapic.set_lint(Lint::Lint1, level) {
                vcpu.core.accept(delivered);
            }
        }
    }

    /// Delivers a message to every Local APIC it addresses (SDM 3A, 11.6.2); false when none accepted it.
    pub fn deliver(&mut self, message: Message) -> bool {
        let addressed = (0..self.vcpus.len()).filter(|&id| self.vcpus[id].core.lapic.matches(&message.destination)).collect::<Vec<_>>();
        self.deliver_to(&addressed, message.delivery, message.trigger)
    }

    fn deliver_to(&mut self, addressed: &[usize], delivery: Delivery, trigger: Trigger) -> bool {
        let elected;
        let addressed = match delivery {
            Delivery::LowestPriority(vector) => {
                let candidates = addressed.iter().map(|&id| (id, &self.vcpus[id].core.lapic));
                elected = lapic::lowest_priority(candidates, vector);
                elected.as_slice()
            }
            _ => addressed,
        };
        let mut accepted = false;
        for &id in addressed {
            let core = &mut self.vcpus[id].core;
            if let Some(delivered) = core.lapic.deliver(delivery, trigger) {
                if delivered == Delivered::Init && id != 0 {
                    core.lapic.init();
                }
                core.accept(delivered);
                accepted = true;
            }
        }
        accepted
    }

    /// Routes what processor `from`'s APIC left to be sent; returns a level-triggered vector that was ended.
    pub(crate) fn route_outgoing(&mut self, from: usize) -> Option<u8> {
        while let Some(outgoing) = self.vcpus[from].core.lapic.next_outgoing() {
            match outgoing {
                Outgoing::Eoi(broadcast) => return Some(broadcast.vector),
                Outgoing::Ipi(ipi) => {
                    let everyone = 0..self.vcpus.len();
                    let addressed = everyone
                        .filter(|&id| match &ipi.target {
                            Target::SelfOnly => id == from,
                            Target::AllIncludingSelf => true,
                            Target::AllExcludingSelf => id != from,
                            Target::Destination(destination) => self.vcpus[id].core.lapic.matches(destination),
                        })
                        .collect::<Vec<_>>();
                    self.deliver_to(&addressed, ipi.delivery, Trigger::Edge);
                }
            }
        }
        None
    }

    /// Power-on reset of every processor and its APIC. Memory, mappings, clock and counts stay.
    pub fn reset(&mut self) {
        for vcpu in &mut self.vcpus {
            let core = &mut vcpu.core;
            core.cpu.reset();
            core.lapic.reset();
            core.device = Default::default();
            core.attention = Default::default();
            vcpu.acknowledged = None;
            vcpu.waiting = None;
        }
    }

    /// Leaves every Local APIC as firmware does: enabled, the 8259 on LINT0, NMI on LINT1.
    pub fn enter_virtual_wire(&mut self) {
        for vcpu in &mut self.vcpus {
            vcpu.core.lapic.set_virtual_wire();
        }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let sum = |count: fn(&Core) -> u64| self.vcpus.iter().map(|vcpu| count(&vcpu.core)).sum();
        Stats {
            instructions: self.instructions(),
            interrupts_delivered: sum(|core| core.interrupts_delivered),
            exceptions_delivered: sum(|core| core.exceptions_delivered),
            blocks_decoded: self.blocks.formed,
            blocks_invalidated: self.blocks.invalidated,
            tlb_misses: sum(|core| core.cpu.tlb.misses),
            exits: self.exits,
        }
    }

    /// What the last [`Exit::Error`] was about.
    pub fn last_error(&self) -> &str {
        &self.error
    }

    /// Direct access to a processor, for tests and the conformance runner.
    pub fn core_mut(&mut self, vcpu: usize) -> &mut Core {
        &mut self.vcpus[vcpu].core
    }
}
