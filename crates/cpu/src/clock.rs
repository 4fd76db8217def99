//! Guest time: piecewise linear in retired instructions, never going backwards.
//!
//! One clock serves the whole machine: the TSC, the Local APIC timers and every device. A new piece starts at an
//! anchor that comes through the machine's one door for inputs.

use std::cell::Cell;

use crate::model::TSC_HZ;

/// One piece of the clock: `base_ns` at instruction `base_instruction`, then `slope_ps` picoseconds an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub base_instruction: u64,
    pub base_ns: u64,
    pub slope_ps: u32,
}

/// The machine's clock.
#[derive(Debug)]
pub struct GuestClock {
    piece: Cell<Piece>,
}

impl Default for GuestClock {
    /// 10 ns an instruction from power-on: what deterministic mode keeps.
    fn default() -> Self {
        Self { piece: Cell::new(Piece { base_instruction: 0, base_ns: 0, slope_ps: 10_000 }) }
    }
}

impl GuestClock {
    /// Guest time in nanoseconds at instruction number `instruction`. Before the current piece it is the piece's start.
    pub fn ns(&self, instruction: u64) -> u64 {
        let piece = self.piece.get();
        let elapsed = u128::from(instruction.saturating_sub(piece.base_instruction)) * u128::from(piece.slope_ps) / 1000;
        piece.base_ns + elapsed as u64
    }

    /// Guest TSC (before IA32_TSC_ADJUST) at `ns`.
    pub fn tsc_at(ns: u64) -> u64 {
        (u128::from(ns) * u128::from(TSC_HZ) / 1_000_000_000) as u64
    }

    /// First nanosecond at which the TSC has reached `tsc`.
    pub fn ns_of_tsc(tsc: u64) -> u64 {
        (u128::from(tsc) * 1_000_000_000).div_ceil(u128::from(TSC_HZ)).min(u128::from(u64::MAX)) as u64
    }

    /// How many instructions from `instruction` on reach `deadline_ns`; 0 when it is past.
    pub fn instructions_until(&self, instruction: u64, deadline_ns: u64) -> u64 {
        let piece = self.piece.get();
        if deadline_ns <= self.ns(instruction) {
            return 0;
        }
        let from_base = (u128::from(deadline_ns - piece.base_ns) * 1000).div_ceil(u128::from(piece.slope_ps.max(1)));
        u64::try_from(from_base).map_or(u64::MAX, |count| piece.base_instruction.saturating_add(count).saturating_sub(instruction))
    }

    /// Starts a new piece at `instruction` with time `ns` (raised to the current time if below it).
    pub fn anchor(&self, instruction: u64, ns: u64, slope_ps: u32) {
        let now = self.ns(instruction);
        self.piece.set(Piece { base_instruction: instruction, base_ns: ns.max(now), slope_ps: slope_ps.max(1) });
    }

    /// The current piece.
    pub fn piece(&self) -> Piece {
        self.piece.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_reached_at_the_first_instruction_past_them() {
        let clock = GuestClock::default();
        clock.anchor(1000, 5_000_000, 3_333);
        for deadline in [5_000_001u64, 5_000_003, 5_123_457] {
            let count = clock.instructions_until(1000, deadline);
            assert!(clock.ns(1000 + count) >= deadline && clock.ns(1000 + count - 1) < deadline);
        }
        assert_eq!(clock.instructions_until(1000, 4), 0);
    }

    #[test]
    fn a_deadline_beyond_all_time_is_far_away_at_any_speed() {
        for slope_ps in [1, 999, 1000, 1001, u32::MAX] {
            let clock = GuestClock::default();
            clock.anchor(1 << 40, 0, slope_ps);
            assert!(clock.instructions_until(1 << 40, u64::MAX) > 1 << 32, "{slope_ps} ps an instruction");
        }
    }

    #[test]
    fn a_processor_that_lags_behind_the_anchor_reads_its_time() {
        let clock = GuestClock::default();
        clock.anchor(1000, 5_000_000, 10_000);
        assert_eq!(clock.ns(0), 5_000_000);
    }

    #[test]
    fn time_never_goes_backwards() {
        let clock = GuestClock::default();
        clock.anchor(100, 50, 1);
        assert_eq!(clock.ns(100), 1000, "instruction 100 was already at 1 us");
    }

    #[test]
    fn tsc_and_ns_agree() {
        for tsc in [0, 1, 2, 3, 1_000_001, 1 << 62] {
            let ns = GuestClock::ns_of_tsc(tsc);
            assert!(GuestClock::tsc_at(ns) >= tsc && (ns == 0 || GuestClock::tsc_at(ns - 1) < tsc));
        }
    }
}
