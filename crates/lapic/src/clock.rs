//! Guest time as the APIC sees it: nanoseconds drive the counting timer, the TSC drives the deadline timer.
//! The relation between the two belongs to the caller's clock, which may be re-anchored at any time.

/// One instant of guest time.
///
/// Both members come from the same reading of the guest clock and never decrease from one call to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Guest nanoseconds since the machine was powered on.
    pub ns: u64,
    /// The guest's time-stamp counter.
    pub tsc: u64,
}

/// The caller's guest clock, asked when a TSC deadline has to be expressed in nanoseconds.
pub trait TscClock {
    /// The first guest nanosecond at which the time-stamp counter reads `tsc` or more; a time already past
    /// for a value already reached, `u64::MAX` for one that is never reached.
    fn ns_of_tsc(&self, tsc: u64) -> u64;
}
