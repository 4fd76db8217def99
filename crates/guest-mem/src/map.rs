//! The guest-physical address map: a kind and a RAM offset for every 4 KiB page below 2^52.

use std::collections::HashMap;

use crate::{MemError, PAGE_SIZE};

/// What a guest-physical page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read and written directly.
    Ram,
    /// Read directly; guest writes vanish.
    Rom,
    /// Read directly; guest writes exit (flash).
    ReadDirect,
    /// Every access exits.
    Mmio,
}

/// One page of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub kind: Kind,
    /// RAM offset of the page's first byte; 0 for [`Kind::Mmio`].
    pub ram_offset: usize,
}

const MMIO: Page = Page { kind: Kind::Mmio, ram_offset: 0 };
/// Pages in a leaf of the map: 2 MiB.
const LEAF: usize = 512;
/// Guest-physical addresses are below this (MAXPHYADDR is at most 52).
const PHYS_END: u64 = 1 << 52;

/// A two-level table; a missing leaf is all [`Kind::Mmio`]. Leaves below 64 GiB are found without hashing.
#[derive(Default)]
pub struct PhysMap {
    low: Vec<Option<Box<[Page; LEAF]>>>,
    high: HashMap<u64, Box<[Page; LEAF]>>,
}

const LOW_LEAVES: u64 = 64 << 9;

impl PhysMap {
    /// Makes `[address, address + length)` of `kind`, its pages backed by RAM from `ram_offset` on.
    /// Everything must be a multiple of 4096.
    pub fn set(&mut self, address: u64, length: u64, kind: Kind, ram_offset: u64) -> Result<(), MemError> {
        for (what, value) in [("address", address), ("length", length), ("RAM offset", ram_offset)] {
            if value % PAGE_SIZE as u64 != 0 {
                return Err(MemError::Unaligned { what, value });
            }
        }
        if address.checked_add(length).is_none_or(|end| end > PHYS_END) {
            return Err(MemError::Outside { address, length, space: "the physical address space" });
        }
        for page in 0..length / PAGE_SIZE as u64 {
            let frame = address / PAGE_SIZE as u64 + page;
            let ram_offset = (ram_offset + page * PAGE_SIZE as u64) as usize;
            let entry = if kind == Kind::Mmio { MMIO } else { Page { kind, ram_offset } };
            self.leaf_mut(frame / LEAF as u64)[frame as usize % LEAF] = entry;
        }
        Ok(())
    }

    /// The page that holds `phys`.
    #[inline]
    pub fn page(&self, phys: u64) -> Page {
        let frame = phys / PAGE_SIZE as u64;
        let number = frame / LEAF as u64;
        let leaf = if number < LOW_LEAVES { self.low.get(number as usize).and_then(Option::as_ref) } else { self.high.get(&number) };
        leaf.map_or(MMIO, |pages| pages[frame as usize % LEAF])
    }

    fn leaf_mut(&mut self, number: u64) -> &mut [Page; LEAF] {
        let empty = || Box::new([MMIO; LEAF]);
        if number >= LOW_LEAVES {
            return self.high.entry(number).or_insert_with(empty);
        }
        let index = number as usize;
        if self.low.len() <= index {
            self.low.resize_with(index + 1, || None);
        }
        self.low[index].get_or_insert_with(empty)
    }
}
