//! Cache control, prefetching and memory ordering (SDM 1, 10.4.6, 11.4.4). Caches are not modelled, and one processor runs at a time in
//! program order, so that only CLFLUSH's faults remain.

use cpu::tlb::AccessKind;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::{Handler, Op, plain};

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Clflush => clflush,
        Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1
        | Mnemonic::Lfence
        | Mnemonic::Mfence
        | Mnemonic::Sfence => nothing,
        _ => return None,
    }))
}

fn nothing(_: &mut Core, _: &Op) -> Exec {
    Ok(())
}

/// Faults as a load of one byte would, without reading it.
fn clflush(core: &mut Core, op: &Op) -> Exec {
    let linear = core.linear(op.seg, core.effective_address(op), 1, AccessKind::Read)?;
    core.translate(linear, AccessKind::Read, core.cpu.view, op.seg).map(|_| ())
}
