//! The string comparisons of SSE4.2: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 1, 12.14; SDM 2B, 4.1).

use cpu::flags::bit;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use super::lanes::{build, split};
use super::operation::{Shape, xmm_unaligned};
use super::vector::{Source, Vector};
use crate::Handler;
use crate::Op;
use crate::core::{Core, Exec};

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Pcmpistri => xmm_unaligned::<Compare<IMPLICIT, false>>(instruction),
        Mnemonic::Pcmpistrm => xmm_unaligned::<Compare<IMPLICIT, true>>(instruction),
        Mnemonic::Pcmpestri => xmm_unaligned::<Compare<EXPLICIT_32, false>>(instruction),
        Mnemonic::Pcmpestrm => xmm_unaligned::<Compare<EXPLICIT_32, true>>(instruction),
        Mnemonic::Pcmpestri64 => xmm_unaligned::<Compare<EXPLICIT_64, false>>(instruction),
        Mnemonic::Pcmpestrm64 => xmm_unaligned::<Compare<EXPLICIT_64, true>>(instruction),
        _ => return None,
    })
}

// How long the strings are.

/// Up to the first zero element.
const IMPLICIT: u8 = 0;
/// The absolute values of EAX and EDX.
const EXPLICIT_32: u8 = 1;
/// The absolute values of RAX and RDX.
const EXPLICIT_64: u8 = 2;

/// The immediate byte (SDM 2B, 4.1.2 to 4.1.6).
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn words(self) -> bool {
        self.0 & 1 != 0
    }
    fn signed(self) -> bool {
        self.0 & 2 != 0
    }
    fn aggregation(self) -> u8 {
        self.0 >> 2 & 3
    }
    fn negated(self) -> bool {
        self.0 & 0x10 != 0
    }
    /// Negation spares the elements beyond the second string.
    fn negates_valid_only(self) -> bool {
        self.0 & 0x20 != 0
    }
    /// The highest index, or a mask of whole elements.
    fn high_or_expanded(self) -> bool {
        self.0 & 0x40 != 0
    }
    fn elements(self) -> usize {
        if self.words() { 8 } else { 16 }
    }
    /// The elements of a vector, extended as they are to be compared.
    fn open(self, vector: u128) -> [i32; 16] {
        let (bytes, words) = (split::<u8, u128>(vector), split::<u16, u128>(vector));
        std::array::from_fn(|index| match (self.words(), self.signed()) {
            (false, false) => i32::from(bytes[index]),
            (false, true) => i32::from(bytes[index] as i8),
            (true, false) => i32::from(words[index % 8]),
            (true, true) => i32::from(words[index % 8] as i16),
        })
    }
}

struct Compare<const LENGTHS: u8, const MASK: bool>;

impl<const LENGTHS: u8, const MASK: bool> Shape<u128> for Compare<LENGTHS, MASK> {
    fn run<S: Source<u128>>(core: &mut Core, op: &Op) -> Exec {
        u128::enter(core)?;
        let second = S::read(core, op)?;
        let control = Control(op.imm as u8);
        let count = control.elements();
        let (first, second) = (control.open(u128::get(core, op.dst)), control.open(second));
        let length = |elements: &[i32], register: usize| match LENGTHS {
            IMPLICIT => elements.iter().position(|&element| element == 0).unwrap_or(count),
            EXPLICIT_32 => (core.cpu.regs[register] as i32).unsigned_abs().min(count as u32) as usize,
            _ => (core.cpu.regs[register] as i64).unsigned_abs().min(count as u64) as usize,
        };
        let (first_length, second_length) = (length(&first[..count], 0), length(&second[..count], 2));

        let all = (1u32 << count) - 1;
        let mut result = aggregate(control, &first[..first_length], &second[..second_length]);
        if control.negated() {
            result ^= if control.negates_valid_only() { (1u32 << second_length) - 1 } else { all };
        }

        if MASK {
            core.cpu.xmm[0] = match (control.high_or_expanded(), control.words()) {
                (false, _) => u128::from(result),
                (true, false) => build(|index| if result >> index & 1 != 0 { u8::MAX } else { 0 }),
                (true, true) => build(|index| if result >> index & 1 != 0 { u16::MAX } else { 0 }),
            };
        } else {
            core.cpu.regs[1] = match (result, control.high_or_expanded()) {
                (0, _) => count as u64,
                (_, false) => u64::from(result.trailing_zeros()),
                (_, true) => u64::from(result.ilog2()),
            };
        }
        core.cpu.flags.set_arith(
            if result != 0 { bit::CF } else { 0 }
                | if second_length < count { bit::ZF } else { 0 }
                | if first_length < count { bit::SF } else { 0 }
                | if result & 1 != 0 { bit::OF } else { 0 },
        );
        Ok(())
    }
}

/// Which elements match, before negation: bit `index` for each place of the second string (table 4-2 says what counts beyond the strings' ends).
fn aggregate(control: Control, first: &[i32], second: &[i32]) -> u32 {
    let count = control.elements();
    let matches = |index: usize| match control.aggregation() {
        // Equal any: the element occurs in the first string.
        0 => second.get(index).is_some_and(|element| first.contains(element)),
        // Ranges: the element lies between the ends of a pair of the first string.
        1 => second.get(index).is_some_and(|element| first.chunks_exact(2).any(|pair| (pair[0]..=pair[1]).contains(element))),
        // Equal each: both strings agree here, or both have ended.
        2 => first.get(index) == second.get(index),
        // Equal ordered: the first string begins here, as far as the register shows it.
        _ => (index..count).zip(first).all(|(at, element)| second.get(at) == Some(element)),
    };
    (0..count).filter(|&index| matches(index)).fold(0, |mask, index| mask | 1 << index)
}
