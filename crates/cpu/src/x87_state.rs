//! The x87 register file and its environment (SDM 1, 8.1). MMX registers are its mantissas.

use softfloat::F80;

/// x87 state. `registers` are physical (R0..R7); ST(i) is `registers[(top + i) & 7]`.
#[derive(Clone, Copy, Debug)]
pub struct X87State {
    pub registers: [F80; 8],
    /// Stack top, 0..7.
    pub top: u8,
    pub control: u16,
    /// Status word without TOP (bits 11..13 are zero here).
    pub status: u16,
    /// Bit i set: physical register i is empty (the abridged tag word inverted).
    pub empty: u8,
    /// Last instruction pointer, data pointer, their selectors, and opcode (11 bits).
    pub instruction_pointer: u64,
    pub instruction_selector: u16,
    pub data_pointer: u64,
    pub data_selector: u16,
    pub opcode: u16,
}

impl Default for X87State {
    /// Power-on state (SDM 3A, table 9-1): all registers +0.0 and valid, control word 0x40.
    fn default() -> Self {
        Self { control: 0x40, empty: 0, ..Self::initialized() }
    }
}

impl X87State {
    /// The state FNINIT leaves, with registers zeroed.
    pub fn initialized() -> Self {
        Self {
            registers: [F80 { mantissa: 0, sign_exponent: 0 }; 8],
            top: 0,
            control: 0x37f,
            status: 0,
            empty: 0xff,
            instruction_pointer: 0,
            instruction_selector: 0,
            data_pointer: 0,
            data_selector: 0,
            opcode: 0,
        }
    }

    /// The status word with TOP in place.
    pub fn status_word(&self) -> u16 {
        self.status & !0x3800 | u16::from(self.top) << 11
    }
}
