//! Control in, flags out: rounding, masks, sticky exceptions, and the x87 precision control.
//! Bit layouts are those that MXCSR and the x87 control and status words share (SDM 1, 8.1.3, 8.1.5 and 10.2.3).

use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// Rounding control, in the encoding of the RC fields (SDM 1, table 4-8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Rounding {
    /// To nearest, ties to even.
    #[default]
    Nearest = 0,
    /// Toward minus infinity.
    Down = 1,
    /// Toward plus infinity.
    Up = 2,
    /// Toward zero.
    TowardZero = 3,
}

impl Rounding {
    /// Decodes an RC field; only the two low bits count.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::TowardZero,
        }
    }

    /// Whether this direction leads away from zero for a value of that sign (never so for `Nearest`).
    pub(crate) const fn is_outward(self, negative: bool) -> bool {
        matches!((self, negative), (Self::Up, false) | (Self::Down, true))
    }
}

/// Precision control of the x87 (SDM 1, table 8-2). It governs add, subtract, multiply, divide and square root of [`crate::F80`] only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// 24-bit significands.
    Single,
    /// 53-bit significands.
    Double,
    /// 64-bit significands.
    #[default]
    Extended,
}

impl Precision {
    /// Decodes a PC field; the reserved encoding 1 counts as extended.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Single,
            2 => Self::Double,
            _ => Self::Extended,
        }
    }

    /// Bits of significand that a result keeps.
    pub(crate) const fn significand_bits(self) -> u32 {
        match self {
            Self::Single => 24,
            Self::Double => 53,
            Self::Extended => 64,
        }
    }
}

/// A set of exceptions, in the order of the six low bits of MXCSR and FSW.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Exceptions(pub u8);

impl Exceptions {
    /// No exception.
    pub const NONE: Self = Self(0);
    /// Invalid operation (IE).
    pub const INVALID: Self = Self(1);
    /// Denormal operand (DE).
    pub const DENORMAL: Self = Self(2);
    /// Division by zero (ZE).
    pub const ZERO_DIVIDE: Self = Self(4);
    /// Overflow (OE).
    pub const OVERFLOW: Self = Self(8);
    /// Underflow (UE).
    pub const UNDERFLOW: Self = Self(16);
    /// Inexact result (PE).
    pub const PRECISION: Self = Self(32);
    /// All six.
    pub const ALL: Self = Self(0x3f);
    /// Those found before computing: unmasked, they stop the operation (SDM 1, 4.9.2).
    pub const PRE_COMPUTATION: Self = Self(7);

    /// Whether every exception of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Exceptions {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitOrAssign for Exceptions {
    fn bitor_assign(&mut self, rhs: Self) {
        self.0 |= rhs.0;
    }
}

impl BitAnd for Exceptions {
    type Output = Self;
    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl Not for Exceptions {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0 & Self::ALL.0)
    }
}

/// Result of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ordering4 {
    /// The first operand is smaller.
    Less,
    /// They are equal (zeros of either sign are).
    Equal,
    /// The first operand is larger.
    Greater,
    /// At least one operand is a NaN (or an unsupported x87 encoding).
    Unordered,
}

/// Everything an operation reads besides its operands, and writes besides its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Env {
    /// Rounding control.
    pub rounding: Rounding,
    /// MXCSR.FTZ: tiny results become zero while underflow is masked. Leave clear for [`crate::F80`].
    pub flush_to_zero: bool,
    /// MXCSR.DAZ: denormal operands count as zeros. [`crate::F80`] ignores it.
    pub denormals_are_zero: bool,
    /// Masked exceptions (bit set: masked).
    pub masks: Exceptions,
    /// Exceptions raised so far; operations only add to it.
    pub flags: Exceptions,
    /// Flags of an instruction's earlier steps, which a later step's fault does not undo (DPPS).
    pub kept: Exceptions,
    /// The last operation's rounding increased the magnitude: x87 C1.
    pub rounded_up: bool,
    /// Precision control of [`crate::F80`] arithmetic.
    pub precision: Precision,
}

impl Default for Env {
    /// Round to nearest, everything masked, no flags, extended precision: the state after FNINIT, and after reset for MXCSR.
    fn default() -> Self {
        Self {
            rounding: Rounding::Nearest,
            flush_to_zero: false,
            denormals_are_zero: false,
            masks: Exceptions::ALL,
            flags: Exceptions::NONE,
            kept: Exceptions::NONE,
            rounded_up: false,
            precision: Precision::Extended,
        }
    }
}

impl Env {
    /// The environment that an MXCSR value asks for, its sticky flags included (SDM 1, 10.2.3).
    #[must_use]
    pub const fn from_mxcsr(mxcsr: u32) -> Self {
        Self {
            rounding: Rounding::from_bits((mxcsr >> 13) as u8),
            flush_to_zero: mxcsr & 0x8000 != 0,
            denormals_are_zero: mxcsr & 0x40 != 0,
            masks: Exceptions((mxcsr >> 7 & 0x3f) as u8),
            flags: Exceptions((mxcsr & 0x3f) as u8),
            kept: Exceptions::NONE,
            rounded_up: false,
            precision: Precision::Extended,
        }
    }

    /// The environment that an x87 control word asks for, with no flag raised yet (SDM 1, 8.1.5).
    #[must_use]
    pub const fn from_x87_control(control: u16) -> Self {
        Self {
            rounding: Rounding::from_bits((control >> 10) as u8),
            flush_to_zero: false,
            denormals_are_zero: false,
            masks: Exceptions((control & 0x3f) as u8),
            flags: Exceptions::NONE,
            kept: Exceptions::NONE,
            rounded_up: false,
            precision: Precision::from_bits((control >> 8) as u8),
        }
    }

    /// Adds exceptions to the sticky flags.
    pub fn raise(&mut self, exceptions: Exceptions) {
        self.flags |= exceptions;
    }

    /// The raised exceptions that no mask covers: those a fault is due for.
    #[must_use]
    pub fn unmasked(&self) -> Exceptions {
        self.flags & !self.masks
    }

    /// For packed instructions, after all lanes ran on one `Env` that started with no flags: if some lane raised an unmasked invalid,
    /// denormal or zero-divide, no lane's result is computed, so overflow, underflow and precision go (SDM 2, appendix on SIMD exceptions).
    pub fn settle_lanes(&mut self) {
        if !(self.unmasked() & Exceptions::PRE_COMPUTATION).is_empty() {
            self.flags = self.flags & Exceptions::PRE_COMPUTATION | self.kept;
        }
    }

    /// Raises the denormal-operand exception if `denormal`; answers whether the operation may go on.
    #[inline(always)]
    pub(crate) fn admit(&mut self, denormal: bool) -> bool {
        if !denormal {
            return true;
        }
        self.raise(Exceptions::DENORMAL);
        self.masks.contains(Exceptions::DENORMAL)
    }
}
