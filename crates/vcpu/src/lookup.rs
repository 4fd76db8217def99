//! From RIP to a decoded block: a direct-mapped jump cache by linear address in front of the physical block cache.

use std::rc::Rc;

use cpu::Fault;
use cpu::segment;
use cpu::tlb::{AccessKind, View};
use decode::block::MAX_LENGTH;
use decode::{BlockCache, BlockKey, form};
use guest_mem::PAGE_SIZE;
use interp::{Block, Core, Exec, Handler};

const SLOTS: usize = 4096;
/// Bytes looked at for one block at most.
const WINDOW: usize = 512;

struct Entry {
    linear: u64,
    /// TLB generation, code size and privilege: while it is equal, the linear address still means this block.
    stamp: u64,
    block: Rc<Block>,
}

/// Blocks by linear address.
pub(crate) struct JumpCache {
    entries: Vec<Option<Entry>>,
}

impl Default for JumpCache {
    fn default() -> Self {
        Self { entries: std::iter::repeat_with(|| None).take(SLOTS).collect() }
    }
}

#[inline(always)]
fn slot(linear: u64) -> usize {
    (linear ^ linear >> 12) as usize % SLOTS
}

#[inline(always)]
fn stamp(core: &Core) -> u64 {
    core.cpu.tlb.generation() << 8 | u64::from(core.cpu.code_bits) << 1 | u64::from(core.cpu.cpl == 3)
}

/// The block at the processor's RIP, decoded if need be. `Err(Stop::Fault)` when the first instruction cannot be fetched.
#[inline(always)]
pub(crate) fn block(core: &mut Core, jumps: &mut JumpCache, blocks: &mut BlockCache<Handler>) -> Exec<Rc<Block>> {
    let rip = core.cpu.rip();
    let linear = if core.cpu.code_bits == 64 { rip } else { core.cpu.seg[segment::CS].base.wrapping_add(rip) & 0xffff_ffff };
    if let Some(entry) = &jumps.entries[slot(linear)]
        && entry.linear == linear
        && entry.stamp == stamp(core)
        && entry.block.valid.get()
        && (core.cpu.code_bits == 64 || entry.block.length <= room(core))
    {
        return Ok(Rc::clone(&entry.block));
    }
    find(core, jumps, blocks, linear)
}

/// Bytes from RIP to the end of the code segment, which no instruction may go beyond (SDM 3A, 5.3).
#[inline(always)]
fn room(core: &Core) -> usize {
    if core.cpu.code_bits == 64 {
        return usize::MAX;
    }
    (u64::from(core.cpu.seg[segment::CS].limit) + 1).saturating_sub(core.cpu.rip()) as usize
}

/// Where the page of `linear` is in RAM, for fetching.
fn fetch_page(core: &mut Core, linear: u64) -> Exec<usize> {
    let view = if core.cpu.cpl == 3 { View::User } else { View::Supervisor };
    let target = core.translate(linear, AccessKind::Fetch, view, segment::CS as u8)?;
    // Device space floats to ones, and FF FF is no instruction.
    target.ram_offset().ok_or_else(|| core.raise(Fault::UD))
}

#[inline(never)]
fn find(core: &mut Core, jumps: &mut JumpCache, blocks: &mut BlockCache<Handler>, linear: u64) -> Exec<Rc<Block>> {
    let room = room(core);
    if room == 0 {
        return Err(core.raise(Fault::GP0));
    }
    let page = fetch_page(core, linear)?;
    let within = linear as usize % PAGE_SIZE;
    let key = BlockKey { ram_offset: page + within, code_bits: core.cpu.code_bits };
    let second_linear = (linear & !0xfff).wrapping_add(PAGE_SIZE as u64) & core.cpu.linear_mask;
    // The second page may be mapped elsewhere by now.
    let crosses = blocks.get(key).is_some_and(|known| known.second_page.is_some());
    let second = if crosses { Some(fetch_page(core, second_linear)?) } else { None };
    // A walk may have set an accessed bit among decoded bytes.
    if core.mem.code_written() {
        blocks.invalidate_written(&core.mem);
    }
    match blocks.get(key) {
        Some(known) if known.length <= room && known.second_page == second => {
            let known = Rc::clone(known);
            return Ok(if crosses { known } else { remember(core, jumps, linear, known) });
        }
        _ => {}
    }
    let mut bytes = [0u8; WINDOW];
    let in_page = (PAGE_SIZE - within).min(WINDOW);
    let first_part = in_page.min(room);
    read(core, key.ram_offset, &mut bytes[..first_part]);
    if let Some(block) = form(key, &bytes[..first_part], None, interp::selector(&core.cpu.model)) {
        let block = blocks.insert(&core.mem, block);
        return Ok(remember(core, jumps, linear, block));
    }
    // The first instruction goes on in the next page, if the segment does.
    if room <= in_page {
        return Err(core.raise(Fault::GP0));
    }
    let second = fetch_page(core, second_linear)?;
    let total = first_part + MAX_LENGTH.min(room - first_part);
    read(core, second, &mut bytes[first_part..total]);
    // 15 bytes beyond the page hold any instruction or prove it invalid; fewer may end it with the segment.
    let mut block =
        form(key, &bytes[..total], Some(first_part), interp::selector(&core.cpu.model)).ok_or_else(|| core.raise(Fault::GP0))?;
    if block.second_page.is_some() {
        block.second_page = Some(second);
    }
    Ok(blocks.insert(&core.mem, block))
}

fn read(core: &Core, ram_offset: usize, target: &mut [u8]) {
    for (index, byte) in target.iter_mut().enumerate() {
        *byte = core.mem.load(ram_offset + index);
    }
}

fn remember(core: &Core, jumps: &mut JumpCache, linear: u64, block: Rc<Block>) -> Rc<Block> {
    jumps.entries[slot(linear)] = Some(Entry { linear, stamp: stamp(core), block: Rc::clone(&block) });
    block
}
