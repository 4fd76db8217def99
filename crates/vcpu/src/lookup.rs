//! From RIP to a decoded block: a direct-mapped jump cache by linear address in front of the physical block cache.

use std::rc::Rc;

use cpu::segment;
use cpu::tlb::{AccessKind, View};
use cpu::{Fault, Mode};
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
        && (core.cpu.code_bits == 64 || within_limit(core, rip))
    {
        return Ok(Rc::clone(&entry.block));
    }
    find(core, jumps, blocks, linear)
}

#[inline(always)]
fn within_limit(core: &Core, rip: u64) -> bool {
    rip <= u64::from(core.cpu.seg[segment::CS].limit)
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
    let rip = core.cpu.rip();
    if core.cpu.mode != Mode::Long64 && !within_limit(core, rip) {
        return Err(core.raise(Fault::GP0));
    }
    let page = fetch_page(core, linear)?;
    let within = linear as usize % PAGE_SIZE;
    let key = BlockKey { ram_offset: page + within, code_bits: core.cpu.code_bits };
    let second_linear = (linear & !0xfff).wrapping_add(PAGE_SIZE as u64) & core.cpu.linear_mask;
    if let Some(known) = blocks.get(key).cloned() {
        match known.second_page {
            None => return Ok(remember(core, jumps, linear, known)),
            // The second page may be mapped elsewhere by now.
            Some(second) if fetch_page(core, second_linear)? == second => return Ok(known),
            Some(_) => {}
        }
    }
    let mut bytes = [0u8; WINDOW];
    let first_part = (PAGE_SIZE - within).min(WINDOW);
    read(core, key.ram_offset, &mut bytes[..first_part]);
    if let Some(block) = form(key, &bytes[..first_part], None, interp::select) {
        let block = blocks.insert(&core.mem, block);
        return Ok(remember(core, jumps, linear, block));
    }
    let second = fetch_page(core, second_linear)?;
    let total = first_part + MAX_LENGTH;
    read(core, second, &mut bytes[first_part..total]);
    let mut block =
        form(key, &bytes[..total], Some(first_part), interp::select).expect("15 bytes beyond the page hold any instruction or prove it invalid");
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

