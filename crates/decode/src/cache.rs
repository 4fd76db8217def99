//! The cache of decoded blocks, by the physical place of their bytes.
//!
//! [`BlockCache::insert`] marks the granules as code. Nothing may write memory between the reading of a block's bytes and its
//! insertion: such a write would go unseen. A block that crosses pages is registered on both.

use std::rc::Rc;

use guest_mem::{GuestMem, PAGE_SIZE, granules};
use rustc_hash::FxHashMap;

use crate::block::{Block, BlockKey};

/// Host memory that blocks may take before the whole cache is dropped, in bytes. A booting Linux fills it a few times; what is hot
/// is decoded again in a few milliseconds.
const MAX_BYTES: usize = 10 << 20;
/// What a block takes besides its records: its own body, its map and page list entries, and the allocator's share.
const BLOCK_BYTES: usize = 176;

/// Decoded blocks of one machine.
pub struct BlockCache<H> {
    blocks: FxHashMap<BlockKey, Rc<Block<H>>>,
    /// Blocks with bytes on a RAM page.
    pages: FxHashMap<usize, Vec<Rc<Block<H>>>>,
    /// Host memory taken, by [`footprint`].
    bytes: usize,
    /// Blocks formed since power-on.
    pub formed: u64,
    /// Blocks dropped because their bytes were written.
    pub invalidated: u64,
}

impl<H> Default for BlockCache<H> {
    fn default() -> Self {
        Self { blocks: FxHashMap::default(), pages: FxHashMap::default(), bytes: 0, formed: 0, invalidated: 0 }
    }
}

impl<H> BlockCache<H> {
    /// The block at a place, if it is decoded. For a block that crosses pages the caller checks `second_page`.
    pub fn get(&self, key: BlockKey) -> Option<&Rc<Block<H>>> {
        self.blocks.get(&key)
    }

    /// Adds a block and marks its granules as code.
    pub fn insert(&mut self, mem: &GuestMem, block: Block<H>) -> Rc<Block<H>> {
        if self.bytes + footprint(&block) > MAX_BYTES {
            self.clear(mem);
        }
        self.bytes += footprint(&block);
        self.formed += 1;
        let block = Rc::new(block);
        for (offset, length) in pieces(&block) {
            mem.mark_code(offset, length);
            let list = self.pages.entry(offset / PAGE_SIZE).or_default();
            // Both pieces may lie on one page of RAM, mapped twice.
            if !list.last().is_some_and(|last| Rc::ptr_eq(last, &block)) {
                list.push(Rc::clone(&block));
            }
        }
        if let Some(old) = self.blocks.insert(block.key, Rc::clone(&block)) {
            self.remove(mem, &old);
        }
        block
    }

    /// Drops the blocks whose bytes were written. Call when `mem.code_written()`.
    pub fn invalidate_written(&mut self, mem: &GuestMem) {
        for (page, touched) in mem.take_code_writes() {
            let Some(blocks) = self.pages.get(&page) else { continue };
            let hit: Vec<_> = blocks.iter().filter(|block| page_mask(block, page) & touched != 0).cloned().collect();
            for block in hit {
                self.invalidated += 1;
                if self.blocks.get(&block.key).is_some_and(|current| Rc::ptr_eq(current, &block)) {
                    self.blocks.remove(&block.key);
                }
                self.remove(mem, &block);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, mem: &GuestMem) {
        for (&page, blocks) in &self.pages {
            mem.set_code_marks(page, 0);
            for block in blocks {
                block.valid.set(false);
            }
        }
        self.pages.clear();
        self.blocks.clear();
        self.bytes = 0;
    }

    /// Takes a block off its pages and re-derives their marks.
    fn remove(&mut self, mem: &GuestMem, block: &Rc<Block<H>>) {
        block.valid.set(false);
        self.bytes -= footprint(block);
        for (offset, _) in pieces(block) {
            let page = offset / PAGE_SIZE;
            if let Some(list) = self.pages.get_mut(&page) {
                list.retain(|other| !Rc::ptr_eq(other, block));
                mem.set_code_marks(page, list.iter().fold(0, |marks, other| marks | page_mask(other, page)));
                if list.is_empty() {
                    self.pages.remove(&page);
                }
            }
        }
    }
}

/// Host memory that a block takes, in bytes.
fn footprint<H>(block: &Block<H>) -> usize {
    BLOCK_BYTES + size_of_val(&block.ops[..])
}

/// The one or two (RAM offset, length) pieces of a block's bytes.
fn pieces<H>(block: &Block<H>) -> impl Iterator<Item = (usize, usize)> {
    let start = block.key.ram_offset;
    let first = block.length.min(PAGE_SIZE - start % PAGE_SIZE);
    let second = block.second_page.map(|page| (page, block.length - first));
    std::iter::once((start, first)).chain(second)
}

/// Granules of `page` that the block's bytes are in.
fn page_mask<H>(block: &Block<H>, page: usize) -> u64 {
    pieces(block)
        .filter(|(offset, _)| offset / PAGE_SIZE == page)
        .fold(0, |mask, (offset, length)| mask | granules(offset % PAGE_SIZE, length))
}
