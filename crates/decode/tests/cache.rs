//! Decoded blocks live as long as their bytes stay the same, and no longer.

use std::rc::Rc;

use decode::{Block, BlockCache, BlockKey, Selected, form};
use guest_mem::{GuestMem, Kind, PAGE_SIZE};
use iced_x86::Instruction;

const PAGES: usize = 8;

fn memory() -> GuestMem {
    let mem = GuestMem::new(PAGES * PAGE_SIZE).expect("32 KiB can be reserved");
    mem.set_mapping(0, (PAGES * PAGE_SIZE) as u64, Kind::Ram, 0).expect("in range");
    mem
}

fn key(ram_offset: usize) -> BlockKey {
    BlockKey { ram_offset, code_bits: 64 }
}

fn select(_: &Instruction) -> Selected<()> {
    Selected { handler: (), ends_block: false, alone: false }
}

/// `length` no-ops as a block.
fn no_ops(cache: &mut BlockCache<()>, mem: &GuestMem, ram_offset: usize, length: usize) -> Rc<Block<()>> {
    let block = form(key(ram_offset), &vec![0x90; length], None, select).expect("no-ops fit");
    cache.insert(mem, block)
}

/// A five-byte instruction with `first` bytes on the page of `ram_offset` and the others at `second_page`.
fn crossing(cache: &mut BlockCache<()>, mem: &GuestMem, ram_offset: usize, second_page: usize) -> Rc<Block<()>> {
    let first = PAGE_SIZE - ram_offset % PAGE_SIZE;
    let mut bytes = [0; 15];
    bytes[0] = 0xb8;
    let mut block = form(key(ram_offset), &bytes, Some(first), select).expect("it fits");
    block.second_page = Some(second_page);
    cache.insert(mem, block)
}

/// Writes a byte and lets the cache see it.
fn write(cache: &mut BlockCache<()>, mem: &GuestMem, ram_offset: usize) {
    mem.store::<u8>(ram_offset, 1);
    if mem.code_written() {
        cache.invalidate_written(mem);
    }
}

#[test]
fn a_block_goes_when_its_granule_is_written() {
    let (mem, mut cache) = (memory(), BlockCache::default());
    let near = no_ops(&mut cache, &mem, 0x1000, 10);
    let far = no_ops(&mut cache, &mem, 0x1100, 10);
    write(&mut cache, &mem, 0x1080);
    assert!(near.valid.get() && far.valid.get(), "no code in that granule");
    write(&mut cache, &mem, 0x1020);
    assert!(!near.valid.get() && far.valid.get());
    assert!(cache.get(key(0x1000)).is_none() && cache.get(key(0x1100)).is_some());
    assert_eq!((cache.formed, cache.invalidated), (2, 1));
    // The granule is no longer code.
    mem.store::<u8>(0x1000, 2);
    assert!(!mem.code_written());
}

#[test]
fn a_block_over_two_granules_goes_with_either() {
    for at in [0x1038, 0x1045] {
        let (mem, mut cache) = (memory(), BlockCache::default());
        let block = no_ops(&mut cache, &mem, 0x1038, 16);
        write(&mut cache, &mem, at);
        assert!(!block.valid.get());
    }
}

#[test]
fn an_instruction_across_pages_goes_with_either() {
    for at in [0x1ffd, 0x5001] {
        let (mem, mut cache) = (memory(), BlockCache::default());
        let block = crossing(&mut cache, &mem, 0x1ffd, 0x5000);
        write(&mut cache, &mem, 0x2001);
        assert!(block.valid.get(), "the next page of RAM is not the second page");
        write(&mut cache, &mem, at);
        assert!(!block.valid.get());
        // It is off both pages.
        for page in [0x1ffd, 0x5000] {
            mem.store::<u8>(page, 2);
            assert!(!mem.code_written());
        }
    }
}

#[test]
fn a_page_may_follow_itself() {
    let (mem, mut cache) = (memory(), BlockCache::default());
    let block = crossing(&mut cache, &mem, 0x1ffd, 0x1000);
    let other = no_ops(&mut cache, &mem, 0x1800, 10);
    write(&mut cache, &mem, 0x1000);
    assert!(!block.valid.get() && other.valid.get());
    assert_eq!(cache.invalidated, 1);
}

#[test]
fn a_block_replaces_the_one_at_its_place() {
    let (mem, mut cache) = (memory(), BlockCache::default());
    let old = crossing(&mut cache, &mem, 0x1ffd, 0x5000);
    let new = crossing(&mut cache, &mem, 0x1ffd, 0x6000);
    assert!(!old.valid.get() && new.valid.get());
    assert!(Rc::ptr_eq(cache.get(key(0x1ffd)).expect("the new one"), &new));
    mem.store::<u8>(0x5000, 1);
    assert!(!mem.code_written());
    write(&mut cache, &mem, 0x6000);
    assert!(!new.valid.get());
}

#[test]
fn code_sizes_are_kept_apart() {
    let (mem, mut cache) = (memory(), BlockCache::default());
    let wide = no_ops(&mut cache, &mem, 0x1000, 4);
    let narrow = BlockKey { ram_offset: 0x1000, code_bits: 16 };
    assert!(cache.get(narrow).is_none());
    let narrow = cache.insert(&mem, form(narrow, &[0x90; 4], None, select).expect("no-ops fit"));
    assert!(wide.valid.get());
    write(&mut cache, &mem, 0x1003);
    assert!(!wide.valid.get() && !narrow.valid.get());
}

#[test]
fn a_full_cache_starts_over() {
    let (mem, mut cache) = (memory(), BlockCache::default());
    let first = no_ops(&mut cache, &mem, 0, 48);
    // Each place many times over, in keys that no processor uses.
    let mut inserted = 1;
    'full: for code_bits in 0..=255 {
        for ram_offset in (0..PAGES * PAGE_SIZE - 64).step_by(64) {
            let mut block = form(key(ram_offset), &[0x90; 48], None, select).expect("no-ops fit");
            block.key.code_bits = code_bits;
            cache.insert(&mem, block);
            inserted += 1;
            if !first.valid.get() {
                break 'full;
            }
        }
    }
    let each = 176 + size_of_val(&first.ops[..]);
    assert_eq!(inserted, (10 << 20) / each + 1, "10 MiB of blocks of {each} bytes");
    assert!(cache.get(key(0)).is_none());
}
