//! Segment registers, their hidden parts, and descriptors (SDM 3A, 3.4 and 3.5).

/// Encoding order of segment registers, then the two pseudo-segments that 64-bit code addresses through.
pub const ES: usize = 0;
pub const CS: usize = 1;
pub const SS: usize = 2;
pub const DS: usize = 3;
pub const FS: usize = 4;
pub const GS: usize = 5;
/// Base 0, no limit: ES, CS and DS of 64-bit mode.
pub const FLAT: usize = 6;
/// As [`FLAT`], but its faults are stack faults: SS of 64-bit mode.
pub const FLAT_STACK: usize = 7;

/// Access rights of a descriptor, laid out as bits 8..15 and 20..23 of its high word moved down by 8, and bit 16
/// for "unusable" (a null selector), as in SDM 3C, table 25-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Access(pub u32);

impl Access {
    pub const UNUSABLE: Access = Access(1 << 16);
    /// Type field, 0..15.
    pub const fn kind(self) -> u8 {
        (self.0 & 0xf) as u8
    }
    /// Code or data (not system).
    pub const fn is_code_or_data(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// Code.
    pub const fn is_code(self) -> bool {
        self.0 & 0x18 == 0x18
    }
    /// Data.
    pub const fn is_data(self) -> bool {
        self.0 & 0x18 == 0x10
    }
    /// Conforming code.
    pub const fn is_conforming(self) -> bool {
        self.0 & 0x1c == 0x1c
    }
    /// Expand-down data.
    pub const fn is_expand_down(self) -> bool {
        self.0 & 0x1c == 0x14
    }
    /// Readable: any data, or code with R.
    pub const fn is_readable(self) -> bool {
        self.is_data() || self.0 & 0x1a == 0x1a
    }
    /// Writable data.
    pub const fn is_writable(self) -> bool {
        self.0 & 0x1a == 0x12
    }
    /// Descriptor privilege level, 0..3.
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }
    /// Present.
    pub const fn is_present(self) -> bool {
        self.0 & 0x80 != 0
    }
    /// 64-bit code.
    pub const fn long(self) -> bool {
        self.0 & 0x2000 != 0
    }
    /// 32-bit default size, or big stack.
    pub const fn big(self) -> bool {
        self.0 & 0x4000 != 0
    }
    /// Limit in units of 4 KiB.
    pub const fn page_granular(self) -> bool {
        self.0 & 0x8000 != 0
    }
    /// Loaded with a null selector.
    pub const fn is_unusable(self) -> bool {
        self.0 & 1 << 16 != 0
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Segment {
    pub selector: u16,
    pub base: u64,
    /// Last valid offset (first invalid minus one; for expand-down data, the last invalid offset).
    pub limit: u32,
    pub access: Access,
    /// No access through this segment needs a check: 64-bit segments, and flat writable data of 4 GiB.
    pub unchecked: bool,
}

impl Segment {
    /// A segment from its parts: [`Cpu::update_mode`](crate::Cpu::update_mode) finds out whether it needs checks.
    pub const fn new(selector: u16, base: u64, limit: u32, access: u32) -> Self {
        Self { selector, base, limit, access: Access(access), unchecked: false }
    }

    /// A null selector's hidden part.
    pub const fn null(selector: u16) -> Self {
        Self { selector, base: 0, limit: 0, access: Access::UNUSABLE, unchecked: false }
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TableRegister {
    pub base: u64,
    pub limit: u16,
}

/// An 8-byte descriptor as it lies in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Access rights.
    pub const fn access(self) -> Access {
        let high = (self.0 >> 32) as u32;
        Access(high >> 8 & 0xf0ff)
    }
    /// Base, 32 bits: the upper half of a 16-byte descriptor is not part of it.
    pub const fn base(self) -> u64 {
        (self.0 >> 16 & 0xff_ffff) | (self.0 >> 56) << 24
    }
    /// Limit in bytes, scaled by granularity.
    pub const fn limit(self) -> u32 {
        let raw = (self.0 & 0xffff) as u32 | ((self.0 >> 48) as u32 & 0xf) << 16;
        if self.access().page_granular() { raw << 12 | 0xfff } else { raw }
    }
    /// The hidden part this descriptor loads.
    pub const fn segment(self, selector: u16) -> Segment {
        Segment { selector, base: self.base(), limit: self.limit(), access: self.access(), unchecked: false }
    }
}
