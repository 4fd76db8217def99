//! The run loop.
//!
//! Fast part: look up a block, run its instructions, count them, until a target instruction number. The target
//! is the nearest of the caller's quantum and deadline and the Local APIC's own timer, so that nothing is polled.
//! Between blocks that may have changed something (the last instruction "ends its block", or an instruction asked to
//! leave) the slow part looks at everything else: invalidated code, timers, messages, interrupts, HLT.

use std::sync::atomic::Ordering;

use cpu::RIP;
use cpu::flags::bit;
use interp::{Block, Core, SingleStep, Stop, deliver};

use crate::exit::Exit;
use crate::lookup;
use crate::machine::{Machine, Vcpu};

/// Exceptions in a row without a retired instruction after which the caller gets a look: a guest can loop
/// through them for ever.
const MAX_DELIVERIES: u32 = 1024;

/// Exceptions since the last retired instruction.
#[derive(Default)]
struct Faults {
    count: u32,
    /// The number of instructions retired before the latest of them.
    at: u64,
}

impl Faults {
    fn note(&mut self, retired: u64) {
        self.count = if self.at == retired { self.count + 1 } else { 1 };
        self.at = retired;
    }
}

/// How a stretch of blocks ended.
enum Stretch {
    /// Something wants looking at.
    Look,
    Leave(Exit),
}

impl Machine {
    /// Runs processor `vcpu` until an exit: at most `quantum` instructions, and not past guest time `deadline_ns`.
    pub fn run(&mut self, vcpu: usize, quantum: u32, deadline_ns: u64) -> Exit {
        let exit = self.run_until_exit(vcpu, u64::from(quantum.max(1)), deadline_ns);
        self.exits[exit.kind()] += 1;
        self.vcpus[vcpu].waiting = Some(exit);
        exit
    }

    fn run_until_exit(&mut self, id: usize, quantum: u64, deadline_ns: u64) -> Exit {
        let limit = self.vcpus[id].core.retired + quantum;
        let mut faults = Faults::default();
        loop {
            let mut target = limit;
            let shadow = self.vcpus[id].core.attention.interrupt_shadow;
            // A half-done device instruction is finished before anything else happens.
            if self.vcpus[id].core.device.in_progress() {
                target = self.vcpus[id].core.retired + 1;
            } else {
                if let Some(exit) = self.look_around(id, limit, deadline_ns) {
                    return exit;
                }
                target = target.min(self.next_event(id, deadline_ns));
            }
            // Only now: the delivery of an interrupt clears TF, and its handler is not stepped.
            let stepping = self.vcpus[id].core.cpu.flags.has(bit::TF);
            if shadow || stepping {
                target = target.min(self.vcpus[id].core.retired + 1);
            }
            self.vcpus[id].core.attention.interrupt_shadow = false;
            // Instructions, devices and the frames of interrupts write code.
            if self.mem.code_written() {
                self.blocks.invalidate_written(&self.mem);
            }
            let before = self.vcpus[id].core.retired;
            match self.run_blocks(id, target, &mut faults) {
                Stretch::Leave(exit) => return exit,
                Stretch::Look if faults.count > MAX_DELIVERIES => return Exit::Budget,
                Stretch::Look => {}
            }
            let core = &mut self.vcpus[id].core;
            if core.retired == before {
                continue;
            }
            let traps = match std::mem::take(&mut core.attention.single_step) {
                SingleStep::ByFlagBefore => stepping,
                SingleStep::ByFlagAfter => core.cpu.flags.has(bit::TF),
                SingleStep::Never => false,
            };
            if traps {
                core.attention.halted = false;
                if let Err(stop) = deliver::deliver_single_step(core) {
                    return self.stopped(id, stop);
                }
            }
        }
    }

    /// The instruction number at which something is due besides the quantum.
    fn next_event(&self, id: usize, deadline_ns: u64) -> u64 {
        let core = &self.vcpus[id].core;
        let deadline = core.lapic.next_deadline_ns(core).map_or(deadline_ns, |ns| ns.min(deadline_ns));
        // At least one instruction, so that a deadline at this very instant makes progress.
        core.retired.saturating_add(self.clock.instructions_until(core.retired, deadline).max(1))
    }

    /// Messages, timers, kicks, interrupts and HLT, between instructions.
    fn look_around(&mut self, id: usize, limit: u64, deadline_ns: u64) -> Option<Exit> {
        if self.kick.swap(false, Ordering::Acquire) {
            return Some(Exit::Kick);
        }
        let core = &mut self.vcpus[id].core;
        (core.position, core.rep_retired) = (0, 0);
        let now = core.now();
        core.lapic.advance(now);
        if let Some(vector) = self.route_outgoing(id) {
            return Some(Exit::Eoi(vector));
        }
        // One delivery may be followed by another before the handler's first instruction: an NMI, a higher vector.
        while match self.take_interrupt(id) {
            Ok(delivered) => delivered,
            Err(exit) => return Some(exit),
        } {}
        let core = &self.vcpus[id].core;
        if core.attention.halted {
            return Some(Exit::Hlt { wake_ns: core.lapic.next_deadline_ns(core) });
        }
        (core.retired >= limit || now.ns >= deadline_ns).then_some(Exit::Budget)
    }

    /// Delivers an NMI or a maskable interrupt if one can be taken now (SDM 3A, 6.9); returns whether it did.
    fn take_interrupt(&mut self, id: usize) -> Result<bool, Exit> {
        let Vcpu { core, acknowledged, .. } = &mut self.vcpus[id];
        let attention = core.attention;
        // The 8259 has given its vector and taken it off its lines: nothing may come before it.
        let delivered = if let Some(vector) = acknowledged.take() {
            deliver::deliver_interrupt(core, vector)
        } else if attention.nmi_pending && !attention.nmi_blocked && !attention.interrupt_shadow {
            deliver::deliver_nmi(core)
        } else if attention.interrupt_shadow || !core.cpu.flags.has(bit::IF) {
            return Ok(false);
        } else if core.lapic.ext_int_pending() {
            return Err(Exit::IntAck);
        } else if core.lapic.pending_vector().is_some() {
            let vector = core.lapic.acknowledge();
            deliver::deliver_interrupt(core, vector)
        } else {
            return Ok(false);
        };
        delivered.map(|()| true).map_err(|stop| self.stopped(id, stop))
    }

    /// Runs blocks until `target` instructions have retired or something wants looking at.
    fn run_blocks(&mut self, id: usize, target: u64, faults: &mut Faults) -> Stretch {
        let Vcpu { core, jumps, .. } = &mut self.vcpus[id];
        while core.retired < target {
            let (result, leave) = match lookup::block(core, jumps, &mut self.blocks) {
                Ok(block) => {
                    let result = run_block(core, &block, target - core.retired);
                    (result, block.ends_stretch || core.attention.leave_block)
                }
                Err(stop) => (Err(stop), true),
            };
            match result {
                Ok(()) if !leave => {}
                Ok(()) => {
                    core.device.finish();
                    return Stretch::Look;
                }
                Err(Stop::Fault) => {
                    faults.note(core.retired);
                    let fault = core.fault;
                    return match deliver::deliver_fault(core, fault) {
                        Ok(()) => Stretch::Look,
                        Err(stop) => Stretch::Leave(self.stopped(id, stop)),
                    };
                }
                Err(Stop::Exit) => {
                    let access = core.device.wanted.expect("a handler that stops for a device has said what it wants");
                    return Stretch::Leave(Exit::of_access(access));
                }
                Err(stop) => return Stretch::Leave(self.stopped(id, stop)),
            }
        }
        Stretch::Look
    }

    /// The exit for a stop that delivery or an instruction cannot get past.
    fn stopped(&mut self, id: usize, stop: Stop) -> Exit {
        match stop {
            Stop::Shutdown => Exit::Shutdown,
            Stop::Fault | Stop::Exit => {
                let rip = self.vcpus[id].core.cpu.rip();
                self.error = format!("an exception or interrupt frame at rip {rip:#x} lies in device memory");
                Exit::Error
            }
        }
    }
}

/// Runs a block's instructions, at most `room` of them, and counts them. On a stop RIP is the stopped instruction's.
#[inline(always)]
fn run_block(core: &mut Core, block: &Block, room: u64) -> Result<(), Stop> {
    core.attention.leave_block = false;
    core.rep_retired = 0;
    core.rep_budget = room.min(u64::from(u32::MAX)) as u32;
    let start = core.cpu.rip();
    let mask = core.cpu.ip_mask;
    let ops = if block.ops.len() as u64 > room { &block.ops[..room as usize] } else { &block.ops[..] };
    let mut last = 0;
    for op in ops {
        core.cpu.regs[RIP as usize] = start.wrapping_add(u64::from(op.end)) & mask;
        core.position = op.position;
        if let Err(stop) = (op.handler.0)(core, op) {
            core.retired += u64::from(op.position) + u64::from(core.rep_retired);
            core.cpu.regs[RIP as usize] = start.wrapping_add(u64::from(op.end) - u64::from(op.length)) & mask;
            (core.position, core.rep_retired) = (0, 0);
            return Err(stop);
        }
        last = op.position;
        if core.attention.leave_block {
            break;
        }
    }
    core.retired += u64::from(last) + 1 + u64::from(core.rep_retired);
    (core.position, core.rep_retired) = (0, 0);
    Ok(())
}
