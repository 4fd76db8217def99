//! An APIC on the bench: a clock, register names, and accesses through the page and the MSRs.

use lapic::{Config, LocalApic, MSR_APIC_BASE, Now, Outgoing, TscClock};

pub const ID: u16 = 0x20;
pub const VERSION: u16 = 0x30;
pub const TPR: u16 = 0x80;
pub const APR: u16 = 0x90;
pub const PPR: u16 = 0xA0;
pub const EOI: u16 = 0xB0;
pub const LDR: u16 = 0xD0;
pub const DFR: u16 = 0xE0;
pub const SVR: u16 = 0xF0;
pub const ISR: u16 = 0x100;
pub const TMR: u16 = 0x180;
pub const IRR: u16 = 0x200;
pub const ESR: u16 = 0x280;
pub const LVT_CMCI: u16 = 0x2F0;
pub const ICR_LOW: u16 = 0x300;
pub const ICR_HIGH: u16 = 0x310;
pub const LVT_TIMER: u16 = 0x320;
pub const LVT_THERMAL: u16 = 0x330;
pub const LVT_PERFORMANCE: u16 = 0x340;
pub const LVT_LINT0: u16 = 0x350;
pub const LVT_LINT1: u16 = 0x360;
pub const LVT_ERROR: u16 = 0x370;
pub const INITIAL_COUNT: u16 = 0x380;
pub const CURRENT_COUNT: u16 = 0x390;
pub const DIVIDE: u16 = 0x3E0;
pub const SELF_IPI: u16 = 0x3F0;

pub const LVT_MASKED: u32 = 1 << 16;
pub const APIC_ENABLE: u64 = 1 << 11;
pub const X2APIC_ENABLE: u64 = 1 << 10;

pub const CONFIG: Config = Config { apic_id: 0x15, bootstrap: true, timer_hz: 25_000_000, physical_address_bits: 40 };

/// The MSR of the register at a page offset.
pub fn msr(offset: u16) -> u32 {
    0x800 + u32::from(offset >> 4)
}

/// A TSC of 2.4 GHz that started with the machine.
pub struct Clock;

impl TscClock for Clock {
    fn ns_of_tsc(&self, tsc: u64) -> u64 {
        u64::try_from((u128::from(tsc) * 5).div_ceil(12)).unwrap_or(u64::MAX)
    }
}

pub fn at(ns: u64) -> Now {
    Now { ns, tsc: u64::try_from(u128::from(ns) * 12 / 5).unwrap_or(u64::MAX) }
}

/// An APIC and the time it is.
pub struct Bench {
    pub apic: LocalApic,
    pub ns: u64,
}

impl Bench {
    /// As after power-on.
    pub fn new() -> Self {
        Self::with_id(CONFIG.apic_id)
    }

    pub fn with_id(apic_id: u32) -> Self {
        Self { apic: LocalApic::new(Config { apic_id, ..CONFIG }), ns: 1_000 }
    }

    /// In xAPIC mode, enabled by software, spurious vector 0xFF.
    pub fn enabled() -> Self {
        Self::new().software_enabled()
    }

    pub fn software_enabled(mut self) -> Self {
        self.write(SVR, 0x1FF);
        self
    }

    /// In x2APIC mode, enabled by software.
    pub fn x2apic(apic_id: u32) -> Self {
        let mut bench = Self::with_id(apic_id).software_enabled();
        bench.enter_x2apic();
        bench
    }

    pub fn enter_x2apic(&mut self) {
        let base = self.rdmsr(MSR_APIC_BASE).expect("always readable");
        self.wrmsr(MSR_APIC_BASE, base | X2APIC_ENABLE).expect("allowed from xAPIC mode");
    }

    pub fn read(&mut self, offset: u16) -> u32 {
        self.apic.read_mmio(offset, 4, at(self.ns)) as u32
    }

    pub fn write(&mut self, offset: u16, value: u32) {
        self.apic.write_mmio(offset, 4, value.into(), at(self.ns));
    }

    pub fn rdmsr(&mut self, msr: u32) -> Option<u64> {
        self.apic.read_msr(msr, at(self.ns)).ok()
    }

    pub fn wrmsr(&mut self, msr: u32, value: u64) -> Option<()> {
        self.apic.write_msr(msr, value, at(self.ns)).ok()
    }

    /// Lets `ns` pass; whether the timer interrupted.
    pub fn pass(&mut self, ns: u64) -> bool {
        self.ns += ns;
        self.apic.advance(at(self.ns))
    }

    pub fn deadline(&self) -> Option<u64> {
        self.apic.next_deadline_ns(&Clock)
    }

    /// Takes the pending vector and completes it.
    pub fn serve(&mut self) -> Option<u8> {
        let vector = self.apic.pending_vector()?;
        assert_eq!(self.apic.acknowledge(), vector);
        self.apic.eoi();
        Some(vector)
    }

    pub fn sent(&mut self) -> Vec<Outgoing> {
        std::iter::from_fn(|| self.apic.next_outgoing()).collect()
    }
}
