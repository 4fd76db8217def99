//! A set of the 256 interrupt vectors, laid out as the ISR, TMR and IRR are (SDM 3A 11.8.4): eight registers of
//! 32 bits, bit `v % 32` of register `v / 32` standing for vector `v`.

/// Vectors below this are reserved: the APIC never sends, accepts or holds them.
pub(crate) const FIRST_LEGAL_VECTOR: u8 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VectorSet([u32; 8]);

impl VectorSet {
    pub(crate) fn from_words(words: [u32; 8]) -> Self {
        Self(words)
    }

    pub(crate) fn words(self) -> [u32; 8] {
        self.0
    }

    /// Register `index` of the eight.
    pub(crate) fn word(&self, index: usize) -> u32 {
        self.0[index]
    }

    pub(crate) fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] & bit(vector) != 0
    }

    pub(crate) fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector >> 5)] |= bit(vector);
    }

    pub(crate) fn remove(&mut self, vector: u8) {
        self.0[usize::from(vector >> 5)] &= !bit(vector);
    }

    /// The highest vector present.
    pub(crate) fn highest(&self) -> Option<u8> {
        self.0.iter().enumerate().rev().find(|&(_, &word)| word != 0).map(|(index, word)| (index as u8) << 5 | word.ilog2() as u8)
    }

    /// Whether every member is a vector that an APIC can hold.
    pub(crate) fn is_legal(&self) -> bool {
        self.0[0] & ((1 << FIRST_LEGAL_VECTOR) - 1) == 0
    }
}

fn bit(vector: u8) -> u32 {
    1 << (vector & 31)
}
