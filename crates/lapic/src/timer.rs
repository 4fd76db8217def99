//! The APIC timer (SDM 3A 11.5.4): one-shot and periodic counting, and TSC deadlines (11.5.4.1).
//!
//! Nothing counts down. The timer's clock is taken to have ticked `floor(ns * hz / 10^9)` times since power-on, and a
//! running timer is the tick at which it reaches zero; the current count follows from the two. So nothing
//! drifts, however rarely it is looked at, and one look catches up with any number of periods.

use std::num::NonZeroU64;

use crate::clock::Now;

const NS_PER_SECOND: u128 = 1_000_000_000;
/// With at most one tick per nanosecond, ticks fit wherever nanoseconds do.
pub(crate) const MAX_TIMER_HZ: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
    /// The encoding that the manual reserves: the timer is stopped.
    Reserved,
}

impl TimerMode {
    /// From LVT bits 18-17 in the low two bits; higher ones are ignored.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits & 0b11 {
            0b00 => Self::OneShot,
            0b01 => Self::Periodic,
            0b10 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// The divide configuration register: bits 3, 1 and 0 select 2, 4, 8, 16, 32, 64, 128 and 1, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DivideConfiguration(pub(crate) u32);

impl DivideConfiguration {
    fn divisor(self) -> u64 {
        let selector = self.0 & 0b11 | (self.0 & 0b1000) >> 1;
        1 << ((selector + 1) & 0b111)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    hz: u64,
    pub(crate) initial_count: u32,
    pub(crate) divide: DivideConfiguration,
    /// The tick at which the count reaches zero; none while stopped.
    pub(crate) expiry_tick: Option<u64>,
    /// IA32_TSC_DEADLINE; zero while disarmed.
    pub(crate) deadline: u64,
}

impl Timer {
    pub(crate) fn new(hz: u64) -> Self {
        Self { hz, initial_count: 0, divide: DivideConfiguration::default(), expiry_tick: None, deadline: 0 }
    }

    /// Starts counting from `value`, or stops for zero. Ignored outside the counting modes.
    pub(crate) fn write_initial_count(&mut self, mode: TimerMode, value: u32, ns: u64) {
        if mode.counts() {
            self.initial_count = value;
            self.expiry_tick = self.expiry_of(value, ns);
        }
    }

    /// Changes the divisor; a running count goes on from its present value at the new rate.
    pub(crate) fn write_divide(&mut self, value: u32, ns: u64) {
        let remaining = self.current_count(ns);
        let old = std::mem::replace(&mut self.divide, DivideConfiguration(value));
        if self.expiry_tick.is_some() && old.divisor() != self.divide.divisor() {
            self.expiry_tick = self.expiry_of(remaining, ns);
        }
    }

    /// Zero while stopped and in the modes that do not count.
    pub(crate) fn current_count(&self, ns: u64) -> u32 {
        let ticks = self.expiry_tick.map_or(0, |expiry| expiry.saturating_sub(self.tick_at(ns)));
        u32::try_from(ticks.div_ceil(self.divide.divisor())).unwrap_or(u32::MAX)
    }

    /// 11.5.4.1: a move between counting and TSC-deadline mode disarms the timer; one between one-shot and
    /// periodic only changes what happens at zero.
    pub(crate) fn change_mode(&mut self, old: TimerMode, new: TimerMode) {
        if old != new && !(old.counts() && new.counts()) {
            *self = Self { divide: self.divide, ..Self::new(self.hz) };
        }
    }

    /// A write to IA32_TSC_DEADLINE: arms, or disarms for zero. Ignored outside TSC-deadline mode.
    pub(crate) fn write_deadline(&mut self, mode: TimerMode, tsc: u64) {
        if mode == TimerMode::TscDeadline {
            self.deadline = tsc;
        }
    }

    /// The armed deadline.
    pub(crate) fn tsc_deadline(&self) -> Option<u64> {
        (self.deadline != 0).then_some(self.deadline)
    }

    /// The first nanosecond at which the count is zero.
    pub(crate) fn expiry_ns(&self) -> Option<u64> {
        let ns = (u128::from(self.expiry_tick?) * NS_PER_SECOND).div_ceil(self.hz.into());
        Some(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Whether the timer went off at or before `now`; it is then stopped, or set for its next period after `now`.
    pub(crate) fn expire(&mut self, mode: TimerMode, now: Now) -> bool {
        if mode == TimerMode::TscDeadline {
            let due = self.tsc_deadline().is_some_and(|deadline| now.tsc >= deadline);
            if due {
                self.deadline = 0;
            }
            return due;
        }
        let tick = self.tick_at(now.ns);
        let Some(late) = self.expiry_tick.and_then(|expiry| tick.checked_sub(expiry)) else {
            return false;
        };
        self.expiry_tick = match (mode, NonZeroU64::new(self.ticks_of(self.initial_count))) {
            (TimerMode::Periodic, Some(period)) => tick.checked_add(period.get() - late % period),
            _ => None,
        };
        true
    }

    fn tick_at(&self, ns: u64) -> u64 {
        let tick = u128::from(ns) * u128::from(self.hz) / NS_PER_SECOND;
        u64::try_from(tick).expect("hz is at most MAX_TIMER_HZ, so there are no more ticks than nanoseconds")
    }

    fn ticks_of(&self, count: u32) -> u64 {
        u64::from(count) * self.divide.divisor()
    }

    /// When a count started now reaches zero; none for zero, and beyond the end of time.
    fn expiry_of(&self, count: u32, ns: u64) -> Option<u64> {
        if count == 0 { None } else { self.tick_at(ns).checked_add(self.ticks_of(count)) }
    }
}
