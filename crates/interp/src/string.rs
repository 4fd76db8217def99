//! String instructions: MOVS STOS LODS CMPS SCAS, alone and repeated (SDM 2A, 2B). INS and OUTS are in `io`.
//!
//! A repeated instruction counts one for each iteration. It runs at most `rep_budget` iterations and then leaves RIP on
//! itself, so that interrupts come between iterations with all registers exact. MOVS and STOS move whole runs within a page.

use cpu::flags::bit;
use cpu::tlb::{AccessKind, Target};
use cpu::{RIP, segment};
use decode::Selected;
use decode::op::prefix::{REP, REPNE};
use iced_x86::{Instruction, Mnemonic};

use crate::arith::sub;
use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::{Handler, Op, alone, plain};

const RAX: u8 = 0;
const RSI: usize = 6;
const RDI: usize = 7;

/// One iteration; returns whether a repeated instruction goes on as far as the flags decide.
type Step = fn(&mut Core, &Op) -> Exec<bool>;

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    use Mnemonic as M;
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let choose = |once: fn(&mut Core, &Op) -> Exec, many: fn(&mut Core, &Op) -> Exec| if repeated { alone(many) } else { plain(once) };
    Some(match instruction.mnemonic() {
        M::Movsb => choose(once::<Movs<u8>>, repeat::<Movs<u8>>),
        M::Movsw => choose(once::<Movs<u16>>, repeat::<Movs<u16>>),
        M::Movsd if is_string(instruction) => choose(once::<Movs<u32>>, repeat::<Movs<u32>>),
        M::Movsq => choose(once::<Movs<u64>>, repeat::<Movs<u64>>),
        M::Stosb => choose(once::<Stos<u8>>, repeat::<Stos<u8>>),
        M::Stosw => choose(once::<Stos<u16>>, repeat::<Stos<u16>>),
        M::Stosd => choose(once::<Stos<u32>>, repeat::<Stos<u32>>),
        M::Stosq => choose(once::<Stos<u64>>, repeat::<Stos<u64>>),
        M::Lodsb => choose(once::<Lods<u8>>, repeat::<Lods<u8>>),
        M::Lodsw => choose(once::<Lods<u16>>, repeat::<Lods<u16>>),
        M::Lodsd => choose(once::<Lods<u32>>, repeat::<Lods<u32>>),
        M::Lodsq => choose(once::<Lods<u64>>, repeat::<Lods<u64>>),
        M::Cmpsb => choose(once::<Cmps<u8>>, repeat::<Cmps<u8>>),
        M::Cmpsw => choose(once::<Cmps<u16>>, repeat::<Cmps<u16>>),
        M::Cmpsd if is_string(instruction) => choose(once::<Cmps<u32>>, repeat::<Cmps<u32>>),
        M::Cmpsq => choose(once::<Cmps<u64>>, repeat::<Cmps<u64>>),
        M::Scasb => choose(once::<Scas<u8>>, repeat::<Scas<u8>>),
        M::Scasw => choose(once::<Scas<u16>>, repeat::<Scas<u16>>),
        M::Scasd => choose(once::<Scas<u32>>, repeat::<Scas<u32>>),
        M::Scasq => choose(once::<Scas<u64>>, repeat::<Scas<u64>>),
        _ => return None,
    })
}

/// MOVSD and CMPSD are also SSE2 mnemonics.
fn is_string(instruction: &Instruction) -> bool {
    instruction.is_string_instruction()
}

/// A string operation.
trait Operation {
    /// One iteration.
    const STEP: Step;

    /// Makes up to `limit` iterations in one run within a page, if it can; returns how many.
    fn run(_: &mut Core, _: &Op, _: u64) -> u64 {
        0
    }
}

fn once<O: Operation>(core: &mut Core, op: &Op) -> Exec {
    (O::STEP)(core, op).map(|_| ())
}

fn repeat<O: Operation>(core: &mut Core, op: &Op) -> Exec {
    let mut done = 0u64;
    core.rep_retired = 0;
    let budget = u64::from(core.rep_budget.max(1));
    loop {
        let left = core.cpu.regs[1] & op.address_mask();
        if left == 0 {
            break;
        }
        if done >= budget || (done > 0 && core.attention.leave_block) {
            core.cpu.regs[RIP as usize] = core.cpu.rip().wrapping_sub(u64::from(op.length)) & core.cpu.ip_mask;
            break;
        }
        let run = O::run(core, op, left.min(budget - done));
        if run > 0 {
            core.set_index(op, 1, left - run);
            done += run;
            core.rep_retired = done as u32;
            continue;
        }
        let goes_on = (O::STEP)(core, op)?;
        core.device.finish();
        core.set_index(op, 1, left - 1);
        done += 1;
        core.rep_retired = done as u32;
        if !goes_on {
            break;
        }
    }
    // The run loop counts the instruction itself once.
    core.rep_retired = (done as u32).saturating_sub(1);
    Ok(())
}

/// Moves an index register one element on, by DF.
#[inline(always)]
pub(crate) fn advance<T: Gpr>(core: &mut Core, op: &Op, number: usize) {
    let step = if core.cpu.flags.has(bit::DF) { (T::SIZE as u64).wrapping_neg() } else { T::SIZE as u64 };
    let value = core.cpu.regs[number].wrapping_add(step);
    core.set_index(op, number, value);
}

#[inline(always)]
fn source_offset(core: &Core, op: &Op) -> u64 {
    core.cpu.regs[RSI] & op.address_mask()
}

#[inline(always)]
fn destination_offset(core: &Core, op: &Op) -> u64 {
    core.cpu.regs[RDI] & op.address_mask()
}

/// The destination is always in ES, which in 64-bit mode is flat.
#[inline(always)]
fn destination_segment(core: &Core) -> u8 {
    if core.cpu.code_bits == 64 { segment::FLAT as u8 } else { segment::ES as u8 }
}

/// REPE goes on while equal, REPNE while not equal.
fn goes_on(core: &Core, op: &Op) -> bool {
    core.cpu.flags.zf() != op.has(REPNE) || !op.has(REP | REPNE)
}

/// The RAM offset of a forward run at `seg:offset`, and how many elements of it lie in the page; None where
/// iterations must go one by one: backwards, at a page's end, in device space, or not yet in the TLB.
fn forward_run<T: Gpr>(core: &mut Core, op: &Op, seg: u8, offset: u64, kind: AccessKind, limit: u64) -> Option<(usize, u64)> {
    if core.cpu.flags.has(bit::DF) || !core.cpu.seg[seg as usize & 7].unchecked {
        return None;
    }
    let linear = core.linear(seg, offset, T::SIZE, kind).ok()?;
    let page = core.cpu.tlb.lookup(kind, core.cpu.view, linear).and_then(Target::ram_offset)?;
    let within = linear % 4096;
    let to_wrap = (op.address_mask() - offset) / T::SIZE as u64;
    let count = ((4096 - within) / T::SIZE as u64).min(limit).min(to_wrap);
    (count > 0).then_some((page + within as usize, count))
}

struct Movs<T>(std::marker::PhantomData<T>);
impl<T: Gpr> Operation for Movs<T> {
    const STEP: Step = |core, op| {
        let value = core.read::<T>(op.seg, source_offset(core, op))?;
        core.write(destination_segment(core), destination_offset(core, op), value)?;
        advance::<T>(core, op, RSI);
        advance::<T>(core, op, RDI);
        Ok(true)
    };

    fn run(core: &mut Core, op: &Op, limit: u64) -> u64 {
        let (from, to, es) = (source_offset(core, op), destination_offset(core, op), destination_segment(core));
        let Some((source, first)) = forward_run::<T>(core, op, op.seg, from, AccessKind::Read, limit) else { return 0 };
        let Some((target, count)) = forward_run::<T>(core, op, es, to, AccessKind::Write, first) else { return 0 };
        let mut done = 0;
        // Element by element, so that overlapping runs repeat their pattern as the processor does.
        while done < count && !core.mem.code_written() {
            let at = done as usize * T::SIZE;
            core.mem.store(target + at, core.mem.load::<T>(source + at));
            done += 1;
        }
        finish_run::<T>(core, op, done, true)
    }
}

/// Moves the index registers past a run.
fn finish_run<T: Gpr>(core: &mut Core, op: &Op, done: u64, with_source: bool) -> u64 {
    let bytes = done * T::SIZE as u64;
    if with_source {
        core.set_index(op, RSI, core.cpu.regs[RSI].wrapping_add(bytes));
    }
    core.set_index(op, RDI, core.cpu.regs[RDI].wrapping_add(bytes));
    if core.mem.code_written() {
        core.leave_block();
    }
    done
}

struct Stos<T>(std::marker::PhantomData<T>);
impl<T: Gpr> Operation for Stos<T> {
    const STEP: Step = |core, op| {
        let value = T::get(&core.cpu, RAX);
        core.write(destination_segment(core), destination_offset(core, op), value)?;
        advance::<T>(core, op, RDI);
        Ok(true)
    };

    fn run(core: &mut Core, op: &Op, limit: u64) -> u64 {
        let (to, es) = (destination_offset(core, op), destination_segment(core));
        let Some((target, count)) = forward_run::<T>(core, op, es, to, AccessKind::Write, limit) else { return 0 };
        let value = T::get(&core.cpu, RAX);
        let mut done = 0;
        while done < count && !core.mem.code_written() {
            core.mem.store(target + done as usize * T::SIZE, value);
            done += 1;
        }
        finish_run::<T>(core, op, done, false)
    }
}

struct Lods<T>(std::marker::PhantomData<T>);
impl<T: Gpr> Operation for Lods<T> {
    const STEP: Step = |core, op| {
        let value = core.read::<T>(op.seg, source_offset(core, op))?;
        T::set(&mut core.cpu, RAX, value);
        advance::<T>(core, op, RSI);
        Ok(true)
    };
}

struct Cmps<T>(std::marker::PhantomData<T>);
impl<T: Gpr> Operation for Cmps<T> {
    const STEP: Step = |core, op| {
        let a = core.read::<T>(op.seg, source_offset(core, op))?;
        let b = core.read::<T>(destination_segment(core), destination_offset(core, op))?;
        sub(&mut core.cpu.flags, a, b, 0);
        advance::<T>(core, op, RSI);
        advance::<T>(core, op, RDI);
        Ok(goes_on(core, op))
    };
}

struct Scas<T>(std::marker::PhantomData<T>);
impl<T: Gpr> Operation for Scas<T> {
    const STEP: Step = |core, op| {
        let b = core.read::<T>(destination_segment(core), destination_offset(core, op))?;
        let a = T::get(&core.cpu, RAX);
        sub(&mut core.cpu.flags, a, b, 0);
        advance::<T>(core, op, RDI);
        Ok(goes_on(core, op))
    };
}
