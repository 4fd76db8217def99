//! The linear addresses that cases use: a few pages below 4 GiB, so that 32-bit addresses reach them, with every kind
//! of neighbour. The host and the guest map the same addresses to equal contents.

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// The first page.
pub const BASE: u64 = 0x1000_0000;

/// What user code may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    None,
    ReadOnly,
    ReadWrite,
    Execute,
}

use Access::{Execute, None as Absent, ReadOnly, ReadWrite};

/// The pages from [`BASE`] on.
pub const PAGES: [Access; 16] = [
    Absent, Execute, Execute, Absent, Absent, ReadWrite, ReadWrite, Absent, ReadOnly, ReadWrite, ReadOnly, Absent, ReadWrite, ReadWrite,
    Absent, Absent,
];
/// Bytes of the whole arena.
pub const SIZE: usize = PAGES.len() * PAGE as usize;

/// Address of page `number`.
pub const fn page(number: u64) -> u64 {
    BASE + number * PAGE
}

/// Where the instruction is placed: in the middle of two pages of breakpoints that branches may reach.
pub const CODE: u64 = page(2) - 64;
/// All code bytes.
pub const CODE_PAGES: std::ops::Range<u64> = page(1)..page(3);
/// Two writable pages with nothing on either side.
pub const DATA: std::ops::Range<u64> = page(5)..page(7);
/// Read-only, writable, read-only, nothing.
pub const MIXED: std::ops::Range<u64> = page(8)..page(11);
/// Two writable pages for stacks, with nothing on either side.
pub const STACK: std::ops::Range<u64> = page(12)..page(14);
/// A page with nothing.
pub const HOLE: u64 = page(15);

/// INT3.
pub const BREAKPOINT: u8 = 0xcc;

/// The arena's offset of a linear address, if `length` bytes from it lie inside.
pub fn offset(linear: u64, length: usize) -> Option<usize> {
    let offset = linear.checked_sub(BASE)?;
    (offset.checked_add(length as u64)? <= SIZE as u64).then_some(offset as usize)
}
