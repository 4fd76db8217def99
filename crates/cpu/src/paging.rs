//! The page walk (SDM 3A, chapter 4): 32-bit, PAE and 4-level paging, large pages, WP, NX, SMEP, SMAP, accessed and
//! dirty bits. Paging-structure entries are read and updated through the one write path.

use guest_mem::{GuestMem, Kind, Word};

use crate::control::{cr0, cr4, efer};
use crate::fault::{Fault, page_error};
use crate::state::{Cpu, Mode};
use crate::tlb::{AccessKind, View};

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// MAXPHYADDR of every model.
pub const PHYS_BITS: u32 = 46;
const PHYS_MASK: u64 = (1 << PHYS_BITS) - 1;

/// A successful walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Guest-physical address of the byte.
    pub phys: u64,
    /// log2 of the page size used.
    pub page_shift: u32,
}

/// What one level of the walk looks like.
struct Level {
    /// Lowest linear-address bit this level indexes with.
    shift: u32,
    index_bits: u32,
    /// PS may be set here.
    large: bool,
    /// This level has no R/W, U/S, accessed bits (PAE's PDPTE).
    bare: bool,
}

const LEVELS_32: [Level; 2] = [level(22, 10, true), level(12, 10, false)];
const LEVELS_PAE: [Level; 3] = [Level { shift: 30, index_bits: 2, large: false, bare: true }, level(21, 9, true), level(12, 9, false)];
const LEVELS_4: [Level; 4] = [level(39, 9, false), level(30, 9, true), level(21, 9, true), level(12, 9, false)];

const fn level(shift: u32, index_bits: u32, large: bool) -> Level {
    Level { shift, index_bits, large, bare: false }
}

/// Walks the paging structures for `linear` and sets accessed and dirty bits, or returns the page fault.
pub fn walk(cpu: &Cpu, mem: &GuestMem, linear: u64, kind: AccessKind, view: View) -> Result<Translation, Fault> {
    if cpu.cr0 & cr0::PG == 0 {
        return Ok(Translation { phys: linear & 0xffff_ffff, page_shift: 12 });
    }
    let walker = Walker { cpu, mem, linear, kind, view };
    if cpu.efer & efer::LMA != 0 {
        walker.walk::<u64>(&LEVELS_4, cpu.cr3 & PHYS_MASK & !0xfff)
    } else if cpu.cr4 & cr4::PAE != 0 {
        walker.walk::<u64>(&LEVELS_PAE, cpu.cr3 & 0xffff_ffe0)
    } else {
        walker.walk::<u32>(&LEVELS_32, cpu.cr3 & 0xffff_f000)
    }
}

struct Walker<'a> {
    cpu: &'a Cpu,
    mem: &'a GuestMem,
    linear: u64,
    kind: AccessKind,
    view: View,
}

impl Walker<'_> {
    fn walk<E: Word>(&self, levels: &[Level], root: u64) -> Result<Translation, Fault> {
        let mut table = root;
        let (mut writable, mut user, mut executable) = (true, true, true);
        for level in levels {
            let index = self.linear >> level.shift & ((1 << level.index_bits) - 1);
            let at = table + index * E::SIZE as u64;
            let entry = self.load::<E>(at)?;
            if entry & PRESENT == 0 {
                return Err(self.fault(0));
            }
            let is_large = level.large && entry & LARGE != 0 && (E::SIZE == 8 || self.cpu.cr4 & cr4::PSE != 0);
            let leaf = is_large || level.shift == 12;
            if entry & self.reserved::<E>(level, is_large) != 0 {
                return Err(self.fault(page_error::PRESENT | page_error::RESERVED));
            }
            if !level.bare {
                writable &= entry & WRITABLE != 0;
                user &= entry & USER != 0;
                executable &= entry & NO_EXECUTE == 0;
            }
            if leaf {
                self.check(writable, user, executable)?;
                self.mark::<E>(at, entry, ACCESSED | if self.kind == AccessKind::Write { DIRTY } else { 0 });
                let offset = self.linear & ((1 << level.shift) - 1);
                let frame = entry & PHYS_MASK & !0xfff & !((1u64 << level.shift) - 1);
                // PSE-36: bits 13..20 of a 4 MiB entry are physical bits 32..39.
                let high = if E::SIZE == 4 && is_large { (entry >> 13 & 0xff) << 32 } else { 0 };
                return Ok(Translation { phys: frame | high | offset, page_shift: level.shift });
            }
            if !level.bare {
                self.mark::<E>(at, entry, ACCESSED);
            }
            table = entry & PHYS_MASK & !0xfff;
        }
        unreachable!("the last level of every paging mode is a leaf")
    }

    /// Reserved bits that must be zero in an entry.
    fn reserved<E: Word>(&self, level: &Level, is_large: bool) -> u64 {
        if E::SIZE == 4 {
            return if is_large { 1 << 21 } else { 0 };
        }
        let mut bits = ((1u64 << 52) - 1) & !PHYS_MASK;
        if self.cpu.efer & efer::NXE == 0 || level.bare {
            bits |= NO_EXECUTE;
        }
        if self.cpu.efer & efer::LMA == 0 {
            bits |= 0x7ff << 52;
        }
        if is_large {
            bits |= ((1u64 << level.shift) - 1) & !0x1fff;
        } else if level.shift != 12 && !level.large && !level.bare {
            bits |= LARGE;
        }
        if level.bare { bits | 0x1e6 } else { bits }
    }

    fn check(&self, writable: bool, user: bool, executable: bool) -> Result<(), Fault> {
        let denied = match (self.view, self.kind) {
            (View::User, AccessKind::Read) => !user,
            (View::User, AccessKind::Write) => !user || !writable,
            (View::User, AccessKind::Fetch) => !user || !executable,
            (_, AccessKind::Fetch) => !executable || user && self.cpu.cr4 & cr4::SMEP != 0,
            (view, kind) => {
                (user && view == View::Supervisor && self.cpu.cr4 & cr4::SMAP != 0)
                    || (kind == AccessKind::Write && !writable && self.cpu.cr0 & cr0::WP != 0)
            }
        };
        if denied { Err(self.fault(page_error::PRESENT)) } else { Ok(()) }
    }

    fn fault(&self, cause: u32) -> Fault {
        let nx = self.cpu.efer & efer::NXE != 0 && (self.cpu.cr4 & cr4::PAE != 0) || self.cpu.cr4 & cr4::SMEP != 0;
        let mut error = cause;
        match self.kind {
            AccessKind::Read => {}
            AccessKind::Write => error |= page_error::WRITE,
            AccessKind::Fetch if nx => error |= page_error::FETCH,
            AccessKind::Fetch => {}
        }
        if self.view == View::User {
            error |= page_error::USER;
        }
        Fault::page(self.linear, error)
    }

    /// An entry in device space or past RAM reads as not present.
    fn load<E: Word>(&self, at: u64) -> Result<u64, Fault> {
        let page = self.mem.page(at);
        match page.kind {
            Kind::Mmio => Err(self.fault(0)),
            _ => Ok(self.mem.load::<E>(page.ram_offset + at as usize % 4096).u64()),
        }
    }

    fn mark<E: Word>(&self, at: u64, entry: u64, bits: u64) {
        let page = self.mem.page(at);
        if entry & bits != bits && page.kind == Kind::Ram {
            self.mem.store::<E>(page.ram_offset + at as usize % 4096, E::of(entry | bits));
        }
    }
}

/// True when bits 63 to 47 of an address are equal.
#[inline]
pub fn is_canonical(linear: u64) -> bool {
    ((linear as i64) << 16 >> 16) as u64 == linear
}

impl Cpu {
    /// True when `linear` is an address that paging can translate in the present mode.
    #[inline]
    pub fn is_canonical(&self, linear: u64) -> bool {
        self.mode != Mode::Long64 || is_canonical(linear)
    }
}
