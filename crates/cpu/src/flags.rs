//! RFLAGS. The six arithmetic flags are kept as the last result and its carries, and worked out when they are asked for.
//!
//! `result` is the sign-extended result of the last flag-writing operation. `carries` holds, at the operand's own
//! width moved to the top of 32 bits, the two highest carry-out bits (CF = bit 31, and CF ^ OF = bit 30), AF at bit 3,
//! and corrections that let POPF and the odd instruction set any combination: bit 0 inverts SF, bits 8..15 are
//! xor-ed into the byte whose parity is PF.

use guest_mem::Word;

/// Bits of RFLAGS (SDM 1, 3.4.3).
pub mod bit {
    pub const CF: u64 = 1 << 0;
    pub const FIXED: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// The six arithmetic flags.
    pub const ARITH: u64 = CF | PF | AF | ZF | SF | OF;
    /// Every flag that exists besides the fixed bit and the arithmetic ones.
    pub const SYSTEM: u64 = TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}

const CF: u32 = 1 << 31;
const CF_XOR_OF: u32 = 1 << 30;
const AF: u32 = 1 << 3;
const SF_INVERT: u32 = 1;

/// RFLAGS with lazily evaluated arithmetic flags.
#[derive(Clone, Copy, Debug)]
pub struct Flags {
    result: u64,
    carries: u32,
    /// The flags of [`bit::SYSTEM`].
    system: u64,
}

impl Default for Flags {
    fn default() -> Self {
        Self { result: 1, carries: 0, system: 0 }.with_arith(0)
    }
}

impl Flags {
    fn with_arith(mut self, flags: u64) -> Self {
        self.set_arith(flags);
        self
    }

    /// RFLAGS as software sees it.
    pub fn get(&self) -> u64 {
        self.system | bit::FIXED | self.arith()
    }

    /// Replaces every flag; reserved bits are ignored.
    pub fn set(&mut self, rflags: u64) {
        self.system = rflags & bit::SYSTEM;
        self.set_arith(rflags);
    }

    /// The flags other than the arithmetic ones.
    #[inline(always)]
    pub fn system(&self) -> u64 {
        self.system
    }

    /// True when any of the system flags in `mask` is set.
    #[inline(always)]
    pub fn has(&self, mask: u64) -> bool {
        self.system & mask != 0
    }

    /// Sets or clears system flags.
    #[inline(always)]
    pub fn assign(&mut self, mask: u64, on: bool) {
        self.system = if on { self.system | mask } else { self.system & !mask };
    }

    /// IOPL, 0..3.
    pub fn iopl(&self) -> u8 {
        (self.system >> 12) as u8 & 3
    }

    /// The six arithmetic flags in their RFLAGS places.
    pub fn arith(&self) -> u64 {
        u64::from(self.cf())
            | u64::from(self.pf()) << 2
            | u64::from(self.af()) << 4
            | u64::from(self.zf()) << 6
            | u64::from(self.sf()) << 7
            | u64::from(self.of()) << 11
    }

    /// Sets the six arithmetic flags from their RFLAGS places.
    pub fn set_arith(&mut self, flags: u64) {
        let (cf, of, sf, zf, pf) =
            (flags & bit::CF != 0, flags & bit::OF != 0, flags & bit::SF != 0, flags & bit::ZF != 0, flags & bit::PF != 0);
        // A zero result has even parity and a clear sign; a result of 1 has odd parity and a clear sign.
        self.result = u64::from(!zf);
        let parity_now = zf;
        self.carries = if cf { CF } else { 0 }
            | if cf ^ of { CF_XOR_OF } else { 0 }
            | if flags & bit::AF != 0 { AF } else { 0 }
            | u32::from(sf)
            | if pf == parity_now { 0 } else { 1 << 8 };
    }

    /// Carry.
    #[inline(always)]
    pub fn cf(&self) -> bool {
        self.carries & CF != 0
    }
    /// Overflow.
    #[inline(always)]
    pub fn of(&self) -> bool {
        (self.carries ^ (self.carries << 1)) & CF != 0
    }
    /// Zero.
    #[inline(always)]
    pub fn zf(&self) -> bool {
        self.result == 0
    }
    /// Sign.
    #[inline(always)]
    pub fn sf(&self) -> bool {
        ((self.result >> 63) as u32 ^ (self.carries & SF_INVERT)) != 0
    }
    /// Parity of the low byte: true when even.
    #[inline(always)]
    pub fn pf(&self) -> bool {
        ((self.result as u8) ^ (self.carries >> 8) as u8).count_ones().is_multiple_of(2)
    }
    /// Auxiliary carry, out of bit 3.
    #[inline(always)]
    pub fn af(&self) -> bool {
        self.carries & AF != 0
    }

    /// Sets CF and leaves the other five.
    #[inline(always)]
    pub fn set_cf(&mut self, cf: bool) {
        let of = self.of();
        self.carries = self.carries & !(CF | CF_XOR_OF) | if cf { CF } else { 0 } | if cf ^ of { CF_XOR_OF } else { 0 };
    }

    /// Sets CF and OF and leaves the other four.
    #[inline(always)]
    pub fn set_cf_of(&mut self, cf: bool, of: bool) {
        self.carries = self.carries & !(CF | CF_XOR_OF) | if cf { CF } else { 0 } | if cf ^ of { CF_XOR_OF } else { 0 };
    }

    /// Sets ZF and leaves the other five.
    pub fn set_zf(&mut self, zf: bool) {
        let flags = self.arith();
        self.set_arith(if zf { flags | bit::ZF } else { flags & !bit::ZF });
    }

    /// Flags of a logic operation: SF, ZF, PF from the result, CF = OF = AF = 0 (AF is undefined; the table says 0).
    #[inline(always)]
    pub fn logic<T: Word>(&mut self, result: T) {
        self.result = sign_extend(result);
        self.carries = 0;
    }

    /// All six flags of an addition, from its result and the carries out of every bit.
    #[inline(always)]
    pub fn carried<T: Word>(&mut self, result: T, carries: T) {
        self.result = sign_extend(result);
        self.carries = top_carries(carries);
    }

    /// As [`Flags::carried`] but CF is kept (INC, DEC).
    #[inline(always)]
    pub fn carried_but_cf<T: Word>(&mut self, result: T, carries: T) {
        let cf = self.cf();
        self.carried(result, carries);
        self.set_cf(cf);
    }

    /// SF, ZF, PF from a result with CF, OF and AF given.
    #[inline(always)]
    pub fn result_with<T: Word>(&mut self, result: T, cf: bool, of: bool, af: bool) {
        self.result = sign_extend(result);
        self.carries = if cf { CF } else { 0 } | if cf ^ of { CF_XOR_OF } else { 0 } | if af { AF } else { 0 };
    }

    /// True when the condition code (the low 4 bits of Jcc, SETcc, CMOVcc opcodes) holds.
    #[inline(always)]
    pub fn condition(&self, code: u8) -> bool {
        let holds = match code >> 1 & 7 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        holds != (code & 1 != 0)
    }
}

#[inline(always)]
fn sign_extend<T: Word>(value: T) -> u64 {
    let shift = 64 - 8 * T::SIZE as u32;
    ((value.u64() << shift) as i64 >> shift) as u64
}

/// The two top carries at bits 31 and 30, AF at bit 3.
#[inline(always)]
fn top_carries<T: Word>(carries: T) -> u32 {
    let all = carries.u64();
    let top = match T::SIZE {
        1 => (all as u32) << 24,
        2 => (all as u32) << 16,
        4 => all as u32,
        _ => (all >> 32) as u32,
    };
    top & (CF | CF_XOR_OF) | all as u32 & AF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_combination_can_be_set_and_read_back() {
        let mut flags = Flags::default();
        for n in 0..64u64 {
            let want = n & 1 | (n >> 1 & 1) << 2 | (n >> 2 & 1) << 4 | (n >> 3 & 1) << 6 | (n >> 4 & 1) << 7 | (n >> 5 & 1) << 11;
            flags.set(want);
            assert_eq!(flags.arith(), want);
            flags.set_cf(!flags.cf());
            assert_eq!(flags.arith(), want ^ bit::CF);
            flags.set_zf(want & bit::ZF == 0);
            assert_eq!(flags.arith(), want ^ bit::CF ^ bit::ZF);
        }
    }

    #[test]
    fn conditions_follow_the_flags() {
        let mut flags = Flags::default();
        flags.set(bit::SF);
        assert!(flags.condition(0xc) && !flags.condition(0xd), "l holds when SF != OF");
        flags.set(bit::SF | bit::OF);
        assert!(!flags.condition(0xe) && flags.condition(0xf), "g holds when ZF = 0 and SF = OF");
        flags.set(bit::CF);
        assert!(flags.condition(0x2) && flags.condition(0x6) && !flags.condition(0x7));
    }
}
