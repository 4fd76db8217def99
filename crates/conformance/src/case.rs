//! One case: an instruction, the registers it starts from, and the memory it finds.

use iced_x86::{Formatter, Instruction, IntelFormatter};

use crate::arena;
use crate::state::State;

/// Bytes that replace the memory template before the instruction runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub linear: u64,
    pub bytes: Vec<u8>,
}

/// A case. `state.rip` is [`arena::CODE`].
#[derive(Clone, Debug)]
pub struct Case {
    /// As decoded from `code` at `state.rip`.
    pub instruction: Instruction,
    /// Size of the code segment: 64 or 32.
    pub bits: u32,
    pub code: Vec<u8>,
    pub state: State,
    /// Later ones win.
    pub patches: Vec<Patch>,
}

impl Case {
    /// The instruction in Intel syntax.
    pub fn text(&self) -> String {
        let mut text = String::new();
        IntelFormatter::new().format(&self.instruction, &mut text);
        text
    }

    /// Sets memory; whatever lies outside the arena is left out.
    pub fn patch(&mut self, linear: u64, bytes: &[u8]) {
        let inside = bytes.iter().enumerate().filter(|(at, _)| arena::offset(linear.wrapping_add(*at as u64), 1).is_some());
        let Some((first, _)) = inside.clone().next() else { return };
        let bytes = inside.map(|(_, byte)| *byte).collect();
        self.patches.push(Patch { linear: linear.wrapping_add(first as u64), bytes });
    }

    /// The arena's contents before the instruction: the template, the patches, the code.
    pub fn memory(&self, template: &[u8]) -> Vec<u8> {
        let mut memory = template.to_vec();
        let code = Patch { linear: self.state.rip, bytes: self.code.clone() };
        for patch in self.patches.iter().chain([&code]) {
            let at = arena::offset(patch.linear, patch.bytes.len()).expect("patches lie in the arena");
            memory[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        memory
    }
}
