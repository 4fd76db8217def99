//! Exceptions (SDM 3A, 6.3 and 6.15).

/// Exception vectors.
pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const XM: u8 = 19;
}

/// Page-fault error code bits (SDM 3A, 4.7).
pub mod page_error {
    pub const PRESENT: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const USER: u32 = 4;
    pub const RESERVED: u32 = 8;
    pub const FETCH: u32 = 16;
}

/// An exception about to be delivered. Faults restart the instruction; `#DB` and `#BP`/`#OF` of INT3/INTO are
/// delivered as traps by whoever raises them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error: Option<u32>,
    /// Faulting linear address of a page fault (goes to CR2), else 0.
    pub address: u64,
}

impl Fault {
    const fn plain(vector: u8) -> Self {
        Self { vector, error: None, address: 0 }
    }
    const fn coded(vector: u8, error: u32) -> Self {
        Self { vector, error: Some(error), address: 0 }
    }
    /// Divide error.
    pub const DE: Self = Self::plain(vector::DE);
    /// Debug exception.
    pub const DB: Self = Self::plain(vector::DB);
    /// Bound range exceeded.
    pub const BR: Self = Self::plain(vector::BR);
    /// Invalid opcode.
    pub const UD: Self = Self::plain(vector::UD);
    /// Device not available (CR0.TS, CR0.EM).
    pub const NM: Self = Self::plain(vector::NM);
    /// x87 floating-point error.
    pub const MF: Self = Self::plain(vector::MF);
    /// SIMD floating-point exception.
    pub const XM: Self = Self::plain(vector::XM);
    /// General protection with error code 0, by far the most common.
    pub const GP0: Self = Self::coded(vector::GP, 0);
    /// Stack fault with error code 0.
    pub const SS0: Self = Self::coded(vector::SS, 0);
    /// Alignment check.
    pub const AC0: Self = Self::coded(vector::AC, 0);
    /// Double fault.
    pub const DOUBLE: Self = Self::coded(vector::DF, 0);

    /// General protection; `error` is a selector (RPL bits replaced by EXT/IDT flags) or 0.
    pub const fn gp(error: u32) -> Self {
        Self::coded(vector::GP, error)
    }
    /// Stack fault.
    pub const fn ss(error: u32) -> Self {
        Self::coded(vector::SS, error)
    }
    /// Segment not present.
    pub const fn np(error: u32) -> Self {
        Self::coded(vector::NP, error)
    }
    /// Invalid TSS.
    pub const fn ts(error: u32) -> Self {
        Self::coded(vector::TS, error)
    }
    /// Page fault at linear `address`; `error` from [`page_error`].
    pub const fn page(address: u64, error: u32) -> Self {
        Self { vector: vector::PF, error: Some(error), address }
    }

    /// Contributory exceptions for the double-fault rule (SDM 3A, table 6-4).
    pub const fn is_contributory(self) -> bool {
        matches!(self.vector, vector::DE | vector::TS | vector::NP | vector::SS | vector::GP)
    }
}
