//! What an instruction starts from and what it leaves, in terms that the host and the interpreter share.

use cpu::Fault;
use softfloat::F80;

/// User-visible registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// In encoding order.
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub xmm: [u128; 16],
    pub mxcsr: u32,
    pub x87: X87,
}

/// x87 state without the pointers to the last instruction, which processors keep differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X87 {
    pub control: u16,
    /// Status word with TOP.
    pub status: u16,
    /// Bit i set: physical register i is valid.
    pub valid: u8,
    /// ST(0) to ST(7), whatever their tags.
    pub st: [F80; 8],
}

impl X87 {
    /// TOP, 0 to 7.
    pub fn top(&self) -> usize {
        usize::from(self.status >> 11 & 7)
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It completed; RIP is where it went.
    Completed,
    Fault(Fault),
}

/// What an instruction left.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub end: End,
    pub state: State,
    /// The whole arena.
    pub memory: Vec<u8>,
}

/// Bytes of an FXSAVE image.
pub const FX_SIZE: usize = 512;

impl State {
    /// The FXSAVE64 image (SDM 1, 10.5.1) that loads this state.
    pub fn to_fx_image(&self) -> [u8; FX_SIZE] {
        let mut image = [0; FX_SIZE];
        image[0..2].copy_from_slice(&self.x87.control.to_le_bytes());
        image[2..4].copy_from_slice(&self.x87.status.to_le_bytes());
        image[4] = self.x87.valid;
        image[24..28].copy_from_slice(&self.mxcsr.to_le_bytes());
        for (slot, value) in image[32..160].chunks_exact_mut(16).zip(&self.x87.st) {
            slot[..10].copy_from_slice(&value.to_bytes());
        }
        for (slot, value) in image[160..416].chunks_exact_mut(16).zip(&self.xmm) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        image
    }

    /// Takes x87, XMM and MXCSR from an FXSAVE64 image.
    pub fn set_fx_image(&mut self, image: &[u8; FX_SIZE]) {
        let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
        self.x87.control = word(0);
        self.x87.status = word(2);
        self.x87.valid = image[4];
        self.mxcsr = u32::from(word(24)) | u32::from(word(26)) << 16;
        for (value, slot) in self.x87.st.iter_mut().zip(image[32..160].chunks_exact(16)) {
            *value = F80::from_bytes(slot[..10].try_into().expect("ten of 16 bytes"));
        }
        for (value, slot) in self.xmm.iter_mut().zip(image[160..416].chunks_exact(16)) {
            *value = u128::from_le_bytes(slot.try_into().expect("chunks of 16 bytes"));
        }
    }
}

impl Default for State {
    /// All registers zero, floating point as FNINIT and power-on leave it.
    fn default() -> Self {
        Self {
            gpr: [0; 16],
            rip: 0,
            rflags: 0x202,
            fs_base: 0,
            gs_base: 0,
            xmm: [0; 16],
            mxcsr: 0x1f80,
            x87: X87 { control: 0x37f, status: 0, valid: 0, st: [F80::ZERO; 8] },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_loads_what_it_was_made_from() {
        let mut state = State { mxcsr: 0x9fc1, ..State::default() };
        state.x87 = X87 { control: 0x0c7f, status: 0x3841, valid: 0xa5, st: [F80::ONE; 8] };
        state.xmm[15] = u128::MAX - 7;
        let mut back = State::default();
        back.set_fx_image(&state.to_fx_image());
        assert_eq!(back, state);
    }
}
