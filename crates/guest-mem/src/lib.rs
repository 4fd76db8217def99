//! Guest-physical memory.
//!
//! - [`reservation`]: the host address range that holds all RAM, between guards.
//! - [`map`]: which guest-physical page is RAM, ROM, flash or device space.
//! - [`GuestMem`]: typed loads, the one write path ([`GuestMem::store`] and [`GuestMem::write_bytes`]), and code marks.
//!
//! RAM is addressed by *RAM offset*, so that aliases of a page share its contents, its decoded code and its marks.
//! Every writer, the processor and every device, goes through the one write path: a write that touches a granule
//! holding decoded code is recorded, and the owner of the block cache drains the record before it runs on.

mod map;
mod reservation;
mod word;

use std::cell::{Cell, RefCell};

pub use map::{Kind, Page, PhysMap};
pub use reservation::Reservation;
pub use word::Word;

/// Bytes in a page, the unit of mapping.
pub const PAGE_SIZE: usize = 4096;
/// Bytes in a granule, the unit of code marks: 64 to a page, one bit each in a `u64`.
pub const GRANULE: usize = 64;

/// Why guest memory could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum MemError {
    /// The host refused the reservation or the RAM within it.
    #[error("the host cannot provide {bytes} bytes of guest RAM: {reason}")]
    Reserve { bytes: usize, reason: String },
    /// A size or address is not a multiple of the page size.
    #[error("{what} {value:#x} is not a multiple of 4096")]
    Unaligned { what: &'static str, value: u64 },
    /// A mapping reaches past the end of RAM or of the physical address space.
    #[error("mapping of {length:#x} bytes at {address:#x} lies outside {space}")]
    Outside { address: u64, length: u64, space: &'static str },
}

/// Granules of decoded code that a write has touched, as (RAM page number, granule mask).
pub type CodeWrite = (usize, u64);

/// All guest RAM and the physical address map.
pub struct GuestMem {
    ram: Reservation,
    map: RefCell<PhysMap>,
    /// One granule mask per RAM page: which 64-byte granules hold decoded code.
    code: Box<[Cell<u64>]>,
    code_writes: RefCell<Vec<CodeWrite>>,
    code_written: Cell<bool>,
}

impl GuestMem {
    /// Reserves `bytes` of zeroed RAM (a multiple of 4096); nothing is mapped yet.
    pub fn new(bytes: usize) -> Result<Self, MemError> {
        if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(MemError::Unaligned { what: "RAM size", value: bytes as u64 });
        }
        Ok(Self {
            ram: Reservation::new(bytes)?,
            map: RefCell::new(PhysMap::default()),
            code: vec![Cell::new(0); bytes / PAGE_SIZE].into_boxed_slice(),
            code_writes: RefCell::default(),
            code_written: Cell::new(false),
        })
    }

    /// Bytes of RAM.
    pub fn ram_size(&self) -> usize {
        self.ram.len()
    }

    /// Maps `length` bytes at guest-physical `address`; see [`PhysMap::set`]. TLBs must be flushed by the caller.
    pub fn set_mapping(&self, address: u64, length: u64, kind: Kind, ram_offset: u64) -> Result<(), MemError> {
        let inside = ram_offset.checked_add(length).is_some_and(|end| end <= self.ram.len() as u64);
        if kind != Kind::Mmio && !inside {
            return Err(MemError::Outside { address: ram_offset, length, space: "RAM" });
        }
        self.map.borrow_mut().set(address, length, kind, ram_offset)
    }

    /// What lies at a guest-physical address.
    #[inline]
    pub fn page(&self, phys: u64) -> Page {
        self.map.borrow().page(phys)
    }

    /// Loads a little-endian word at a RAM offset.
    ///
    /// # Panics
    /// If the word does not lie wholly in RAM: offsets come from [`Page`]s, so that is our own bug.
    #[inline(always)]
    pub fn load<T: Word>(&self, offset: usize) -> T {
        self.ram.load(offset)
    }

    /// Stores a little-endian word at a RAM offset that does not cross its page: the one write path.
    #[inline(always)]
    pub fn store<T: Word>(&self, offset: usize, value: T) {
        self.ram.store(offset, value);
        let page = offset / PAGE_SIZE;
        if self.code[page].get() != 0 {
            self.note_code_write(page, offset % PAGE_SIZE, T::SIZE);
        }
    }

    /// Copies out of RAM or ROM at a guest-physical address; false if any byte is neither.
    pub fn read_bytes(&self, phys: u64, target: &mut [u8]) -> bool {
        self.for_each_piece(phys, target.len(), |page, offset, range| {
            matches!(page, Kind::Ram | Kind::Rom | Kind::ReadDirect).then(|| self.ram.read(offset, &mut target[range])).is_some()
        })
    }

    /// Copies into RAM at a guest-physical address through the one write path; false, and nothing is written,
    /// if any byte is not writable RAM.
    pub fn write_bytes(&self, phys: u64, source: &[u8]) -> bool {
        self.for_each_piece(phys, source.len(), |kind, _, _| kind == Kind::Ram)
            && self.for_each_piece(phys, source.len(), |_, offset, range| {
                let length = range.len();
                self.ram.write(offset, &source[range]);
                let page = offset / PAGE_SIZE;
                if length != 0 && self.code[page].get() != 0 {
                    self.note_code_write(page, offset % PAGE_SIZE, length);
                }
                true
            })
    }

    /// Calls `visit(kind, ram offset, range of the buffer)` for each page's piece, while it returns true.
    fn for_each_piece(&self, phys: u64, length: usize, mut visit: impl FnMut(Kind, usize, std::ops::Range<usize>) -> bool) -> bool {
        let mut done = 0;
        while done < length {
            let Some(address) = phys.checked_add(done as u64) else { return false };
            let within = address as usize % PAGE_SIZE;
            let piece = (PAGE_SIZE - within).min(length - done);
            let page = self.page(address);
            if !visit(page.kind, page.ram_offset + within, done..done + piece) {
                return false;
            }
            done += piece;
        }
        true
    }

    /// Marks the granules of `[offset, offset + length)` (one page) as holding decoded code.
    pub fn mark_code(&self, offset: usize, length: usize) {
        let cell = &self.code[offset / PAGE_SIZE];
        cell.set(cell.get() | granules(offset % PAGE_SIZE, length));
    }

    /// Replaces a page's code marks (after its blocks were dropped).
    pub fn set_code_marks(&self, page: usize, marks: u64) {
        self.code[page].set(marks);
    }

    /// True when a write touched decoded code since the last [`GuestMem::take_code_writes`].
    #[inline(always)]
    pub fn code_written(&self) -> bool {
        self.code_written.get()
    }

    /// Takes the record of writes to decoded code.
    pub fn take_code_writes(&self) -> Vec<CodeWrite> {
        self.code_written.set(false);
        self.code_writes.take()
    }

    #[cold]
    fn note_code_write(&self, page: usize, within: usize, length: usize) {
        let touched = self.code[page].get() & granules(within, length);
        if touched != 0 {
            self.code_writes.borrow_mut().push((page, touched));
            self.code_written.set(true);
        }
    }
}

/// The granule mask of `length` (at least 1) bytes from `within` a page, cut off at the page's end.
pub fn granules(within: usize, length: usize) -> u64 {
    let first = within / GRANULE;
    let last = (within + length - 1).min(PAGE_SIZE - 1) / GRANULE;
    (u64::MAX >> (63 - (last - first))) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> GuestMem {
        let mem = GuestMem::new(16 * PAGE_SIZE).expect("64 KiB can be reserved");
        mem.set_mapping(0, 8 * PAGE_SIZE as u64, Kind::Ram, 0).expect("in range");
        mem.set_mapping(0x10_0000, PAGE_SIZE as u64, Kind::Rom, 8 * PAGE_SIZE as u64).expect("in range");
        mem
    }

    #[test]
    fn granule_masks_cover_exactly_the_bytes() {
        assert_eq!(granules(0, 1), 1);
        assert_eq!(granules(63, 2), 3);
        assert_eq!(granules(0, PAGE_SIZE), u64::MAX);
        assert_eq!(granules(4095, 8), 1 << 63);
    }

    #[test]
    fn a_write_that_is_partly_outside_ram_changes_nothing() {
        let mem = memory();
        let end = 8 * PAGE_SIZE as u64;
        assert!(!mem.write_bytes(end - 2, &[1, 2, 3, 4]));
        let mut back = [9; 2];
        assert!(mem.read_bytes(end - 2, &mut back));
        assert_eq!(back, [0, 0]);
        assert!(!mem.write_bytes(0x10_0000, &[1]), "ROM takes no device writes");
        assert!(!mem.write_bytes(u64::MAX - 1, &[1, 2, 3, 4]));
    }

    #[test]
    fn every_writer_is_seen_when_it_touches_code() {
        let mem = memory();
        mem.mark_code(0x1040, 10);
        mem.store::<u32>(0x1000, 7);
        assert!(!mem.code_written());
        mem.store::<u8>(0x1045, 7);
        assert!(mem.write_bytes(0x1030, &[0; 32]));
        assert_eq!(mem.take_code_writes(), vec![(1, 2), (1, 2)]);
        assert!(!mem.code_written());
    }

    #[test]
    fn aliases_share_contents() {
        let mem = memory();
        mem.set_mapping(0x20_0000, PAGE_SIZE as u64, Kind::Ram, 0x1000).expect("in range");
        assert!(mem.write_bytes(0x20_0008, &[0xab]));
        assert_eq!(mem.load::<u8>(0x1008), 0xab);
        assert!(mem.set_mapping(0, 0x1000, Kind::Ram, 16 * PAGE_SIZE as u64).is_err());
        assert!(mem.set_mapping(1, 0x1000, Kind::Mmio, 0).is_err());
    }
}
