//! The first-level TLB: direct-mapped, one table for each kind of access and each privilege view, so that a hit
//! needs no permission check. A flush is one increment: the epoch is part of every tag.

/// Entries in a table.
const SLOTS: usize = 1024;
const PAGE_MASK: u64 = !0xfff;
/// The epoch lives in a tag's page-offset bits.
const EPOCHS: u64 = 1 << 12;

/// How an access is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    Read = 0,
    Write = 1,
    Fetch = 2,
}

/// Whose permissions an access has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// CPL 3.
    User = 0,
    /// CPL 0..2 (and implicit accesses), kept from user pages by SMAP.
    Supervisor = 1,
    /// CPL 0..2 where SMAP does not apply: CR4.SMAP = 0 or RFLAGS.AC = 1.
    SupervisorAc = 2,
}

/// Where a page's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(u64);

impl Target {
    const DEVICE: u64 = 1;
    const DISCARD: u64 = 2;

    /// RAM (or ROM, to read) at this RAM offset.
    pub fn ram(offset: usize) -> Self {
        Self(offset as u64)
    }
    /// Device space at this guest-physical page.
    pub fn device(phys: u64) -> Self {
        Self(phys & PAGE_MASK | Self::DEVICE)
    }
    /// Writes vanish (ROM).
    pub fn discard() -> Self {
        Self(Self::DISCARD)
    }
    /// RAM offset of the page, if it is RAM.
    #[inline(always)]
    pub fn ram_offset(self) -> Option<usize> {
        (self.0 & 0xfff == 0).then_some(self.0 as usize)
    }
    /// Guest-physical page, if it is device space.
    pub fn device_page(self) -> Option<u64> {
        (self.0 & Self::DEVICE != 0).then_some(self.0 & PAGE_MASK)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    target: Target,
}

const EMPTY: Entry = Entry { tag: 0, target: Target(Target::DISCARD) };

/// Translations of one processor.
pub struct Tlb {
    tables: Box<[[Entry; SLOTS]; 9]>,
    /// 1..EPOCHS-1; tag 0 never matches.
    epoch: u64,
    /// Raised by every flush, and by single-page invalidations: whatever else caches a translation compares it.
    generation: u64,
    /// Which 2 MiB and 1 GiB regions (hashed) hold slices of a large page since the last flush.
    large: [u64; LARGE_WORDS],
    /// Lookups that missed and were filled.
    pub misses: u64,
}

const LARGE_WORDS: usize = 16;

/// Bit of the hashed set of large regions.
fn large_bit(linear: u64, page_shift: u32) -> (usize, u64) {
    let region = (linear >> page_shift) as usize ^ (page_shift as usize) << 4;
    (region / 64 % LARGE_WORDS, 1 << (region % 64))
}

impl Default for Tlb {
    fn default() -> Self {
        Self { tables: Box::new([[EMPTY; SLOTS]; 9]), epoch: 1, generation: 0, large: [0; LARGE_WORDS], misses: 0 }
    }
}

#[inline(always)]
fn slot(linear: u64) -> usize {
    (linear >> 12) as usize % SLOTS
}

impl Tlb {
    /// The target of the page that holds `linear`, on a hit.
    #[inline(always)]
    pub fn lookup(&self, kind: AccessKind, view: View, linear: u64) -> Option<Target> {
        let entry = &self.tables[kind as usize * 3 + view as usize][slot(linear)];
        (entry.tag == linear & PAGE_MASK | self.epoch).then_some(entry.target)
    }

    /// Caches a translation made through a page of `1 << page_shift` bytes (12, 21, 22 or 30).
    pub fn insert(&mut self, kind: AccessKind, view: View, linear: u64, target: Target, page_shift: u32) {
        self.misses += 1;
        if page_shift != 12 {
            let (word, bit) = large_bit(linear, page_shift);
            self.large[word] |= bit;
        }
        self.tables[kind as usize * 3 + view as usize][slot(linear)] = Entry { tag: linear & PAGE_MASK | self.epoch, target };
    }

    /// Drops every translation.
    pub fn flush(&mut self) {
        self.generation += 1;
        self.epoch += 1;
        self.large = [0; LARGE_WORDS];
        if self.epoch == EPOCHS {
            self.epoch = 1;
            self.tables.fill([EMPTY; SLOTS]);
        }
    }

    /// Drops the translation of the page that holds `linear` (INVLPG). Large pages are cached as 4 KiB slices, so
    /// where one may be concerned everything goes.
    pub fn flush_page(&mut self, linear: u64) {
        let large = [21, 22, 30].iter().any(|&shift| {
            let (word, bit) = large_bit(linear, shift);
            self.large[word] & bit != 0
        });
        if large {
            return self.flush();
        }
        self.generation += 1;
        let slot = slot(linear);
        for table in self.tables.iter_mut() {
            if table[slot].tag & PAGE_MASK == linear & PAGE_MASK {
                table[slot] = EMPTY;
            }
        }
    }

    /// Changes whenever a cached translation may have been dropped.
    #[inline(always)]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
