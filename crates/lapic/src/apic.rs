//! The APIC as a whole: its configuration, its state, its resets (SDM 3A 11.4.7), and its time.
//! What each register means is in the file named after its subject.

use std::collections::VecDeque;

use thiserror::Error;

use crate::apic_base::{ApicBase, Mode};
use crate::clock::{Now, TscClock};
use crate::error_status::ErrorStatus;
use crate::ipi::{InterruptCommand, Outgoing};
use crate::lvt::{LvtEntry, LvtValue};
use crate::message::Trigger;
use crate::registers::SpuriousVector;
use crate::timer::{MAX_TIMER_HZ, Timer, TimerMode};
use crate::vector_set::VectorSet;

/// What is fixed for the life of one APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The initial x2APIC ID (CPUID leaf 0x0B, EDX). The xAPIC ID is its low 8 bits.
    pub apic_id: u32,
    /// Whether this is the bootstrap processor (IA32_APIC_BASE bit 8 after reset).
    pub bootstrap: bool,
    /// Frequency of the timer's clock before division, in Hz: 1 to 1,000,000,000.
    pub timer_hz: u64,
    /// MAXPHYADDR (CPUID leaf 0x8000_0008, EAX bits 7-0): 32 to 52.
    pub physical_address_bits: u8,
}

/// The access is refused: the instruction that made it raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("general protection fault")]
pub struct GeneralProtection;

/// One processor's Local APIC.
#[derive(Clone, Debug)]
pub struct LocalApic {
    pub(crate) config: Config,
    pub(crate) base: ApicBase,
    pub(crate) tpr: u8,
    /// The xAPIC's LDR; that of x2APIC mode follows from the APIC ID.
    pub(crate) ldr: u32,
    pub(crate) dfr: u32,
    pub(crate) svr: SpuriousVector,
    pub(crate) isr: VectorSet,
    pub(crate) tmr: VectorSet,
    pub(crate) irr: VectorSet,
    pub(crate) errors: ErrorStatus,
    pub(crate) icr: InterruptCommand,
    pub(crate) lvt: [LvtValue; LvtEntry::COUNT],
    pub(crate) timer: Timer,
    /// Whether LINT0 and LINT1 are asserted; wires, so no reset of the APIC changes them.
    pub(crate) pins: [bool; 2],
    pub(crate) outgoing: VecDeque<Outgoing>,
}

impl LocalApic {
    /// An APIC in its power-on state.
    ///
    /// # Panics
    ///
    /// When a member of `config` is out of its range.
    pub fn new(config: Config) -> Self {
        assert!((1..=MAX_TIMER_HZ).contains(&config.timer_hz), "timer_hz out of range: {}", config.timer_hz);
        assert!((32..=52).contains(&config.physical_address_bits), "physical_address_bits out of range");
        Self {
            config,
            base: ApicBase::reset(config.bootstrap),
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: SpuriousVector::RESET,
            isr: VectorSet::default(),
            tmr: VectorSet::default(),
            irr: VectorSet::default(),
            errors: ErrorStatus::RESET,
            icr: InterruptCommand::default(),
            lvt: [LvtValue::RESET; LvtEntry::COUNT],
            timer: Timer::new(config.timer_hz),
            pins: [false; 2],
            outgoing: VecDeque::new(),
        }
    }

    /// Power-on reset (11.4.7.1): every register, IA32_APIC_BASE included; undrained messages are lost.
    /// The levels of the LINT pins remain, since their drivers hold them.
    pub fn reset(&mut self) {
        *self = Self { pins: self.pins, ..Self::new(self.config) };
    }

    /// INIT reset (11.4.7.3): as [`reset`](Self::reset), but the APIC ID and IA32_APIC_BASE are kept, and with
    /// the latter the mode (11.12.5.1): an x2APIC stays one. Messages already sent stay in the queue.
    pub fn init(&mut self) {
        let outgoing = std::mem::take(&mut self.outgoing);
        *self = Self { base: self.base, pins: self.pins, outgoing, ..Self::new(self.config) };
    }

    /// Puts the APIC in the state in which firmware leaves the bootstrap processor's (virtual wire mode, MP
    /// specification 1.4, 3.6.2.2): software-enabled, the 8259 on LINT0 as ExtINT, NMI on LINT1. For machines
    /// whose boot protocol enters the kernel without firmware. A globally disabled APIC stays as it is.
    pub fn set_virtual_wire(&mut self) {
        if self.mode() == Mode::Disabled {
            return;
        }
        self.write_spurious_vector(SpuriousVector(SpuriousVector::RESET.0 | SpuriousVector::ENABLE));
        self.write_lvt(LvtEntry::Lint0, 0b111 << 8);
        self.write_lvt(LvtEntry::Lint1, 0b100 << 8);
    }

    /// The configuration given to [`new`](Self::new).
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Lets time pass: what the timer owes up to `now` happens. A periodic timer that is several periods late
    /// interrupts once and stays in phase. Returns whether an interrupt was accepted.
    pub fn advance(&mut self, now: Now) -> bool {
        if !self.timer.expire(self.timer_mode(), now) {
            return false;
        }
        let lvt = self.lvt[LvtEntry::Timer as usize];
        !lvt.masked() && self.accept_fixed(lvt.vector(), Trigger::Edge)
    }

    /// The first guest nanosecond at which [`advance`](Self::advance) would raise an interrupt; none while the
    /// timer is stopped or its LVT entry masked. It holds until the next register access, `advance`, reset or change of
    /// `clock`. The result may be in the past.
    pub fn next_deadline_ns(&self, clock: &impl TscClock) -> Option<u64> {
        if self.lvt[LvtEntry::Timer as usize].masked() {
            return None;
        }
        match self.timer_mode() {
            TimerMode::TscDeadline => self.timer.tsc_deadline().map(|tsc| clock.ns_of_tsc(tsc)),
            TimerMode::OneShot | TimerMode::Periodic | TimerMode::Reserved => self.timer.expiry_ns(),
        }
    }

    /// Takes the oldest message that a register write left to be routed.
    pub fn next_outgoing(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    pub(crate) fn timer_mode(&self) -> TimerMode {
        self.lvt[LvtEntry::Timer as usize].timer_mode()
    }

    /// Whether fixed interrupts are taken: enabled in IA32_APIC_BASE and in the SVR (11.4.3, 11.4.7.2).
    pub(crate) fn accepts_interrupts(&self) -> bool {
        self.mode() != Mode::Disabled && self.svr.software_enabled()
    }

    pub(crate) fn write_spurious_vector(&mut self, value: SpuriousVector) {
        self.svr = value;
        if !value.software_enabled() {
            // 11.4.7.2: the mask bits of all entries are set, and stay so while the APIC is disabled.
            self.lvt.iter_mut().for_each(|lvt| *lvt = lvt.with_mask());
        }
    }
}
