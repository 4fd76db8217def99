//! The arena in the host's address space: one memory file, mapped at the fixed addresses with each page's own protection, and
//! once more, wholly writable, for filling and reading it.

use std::ptr::null_mut;

use super::Unavailable;
use crate::arena::{self, Access};

/// The two mappings. They stay for the life of the process: what a faulty case still points at is never reused.
pub struct Arena {
    alias: *mut u8,
}

fn last_error(what: &str) -> Unavailable {
    Unavailable(format!("{what}: {}", std::io::Error::last_os_error()))
}

fn protection(access: Access) -> i32 {
    match access {
        Access::None => libc::PROT_NONE,
        Access::ReadOnly => libc::PROT_READ,
        Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        Access::Execute => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
    }
}

impl Arena {
    pub fn new() -> Result<Self, Unavailable> {
        // SAFETY: a new memory file under a literal name.
        let file = unsafe { libc::memfd_create(c"conformance-arena".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: `file` is the descriptor just made, or -1, which ftruncate refuses.
        if unsafe { libc::ftruncate(file, arena::SIZE as i64) } != 0 {
            return Err(last_error("making the arena's memory file"));
        }
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choosing touches no existing memory.
        let alias = unsafe { libc::mmap(null_mut(), arena::SIZE, read_write, libc::MAP_SHARED | libc::MAP_POPULATE, file, 0) };
        if alias == libc::MAP_FAILED {
            return Err(last_error("mapping the arena"));
        }
        // MAP_FIXED replaces only the arena of an earlier `Host`, which nothing uses any more.
        let fixed = if ARENA_MAPPED.swap(true, std::sync::atomic::Ordering::Relaxed) { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE };
        for (number, access) in arena::PAGES.into_iter().enumerate() {
            let address = arena::page(number as u64) as *mut libc::c_void;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE | fixed;
            let offset = (number as u64 * arena::PAGE) as i64;
            // SAFETY: the address range is free (NOREPLACE) or an earlier arena's, so no live Rust object is there.
            let mapped = unsafe { libc::mmap(address, arena::PAGE as usize, protection(access), flags, file, offset) };
            if mapped != address {
                return Err(last_error("mapping the arena at its fixed address"));
            }
        }
        // SAFETY: the descriptor is ours and the mappings keep the file alive.
        unsafe { libc::close(file) };
        Ok(Self { alias: alias.cast() })
    }

    /// Replaces the arena's contents. Code is written at the address it runs from, so that the processor sees the
    /// modification without a serializing instruction (SDM 3A, 12.1.3).
    pub fn write(&mut self, contents: &[u8]) {
        assert_eq!(contents.len(), arena::SIZE, "contents cover the arena");
        let code = arena::offset(arena::CODE_PAGES.start, 0).expect("code lies in the arena");
        let after = arena::offset(arena::CODE_PAGES.end, 0).expect("code lies in the arena");
        for (from, to, target) in [(0, code, self.alias), (after, arena::SIZE, self.alias), (code, after, arena::BASE as *mut u8)] {
            // SAFETY: `target + [from, to)` lies in one of the two mappings of `SIZE` bytes, both writable there;
            // the source is a Rust slice of `SIZE` bytes elsewhere.
            unsafe { std::ptr::copy_nonoverlapping(contents.as_ptr().add(from), target.add(from), to - from) };
        }
    }

    /// The arena's contents.
    pub fn read(&self) -> Vec<u8> {
        let mut contents = vec![0; arena::SIZE];
        // SAFETY: the alias maps `SIZE` readable bytes for the life of the process.
        unsafe { std::ptr::copy_nonoverlapping(self.alias, contents.as_mut_ptr(), arena::SIZE) };
        contents
    }
}

static ARENA_MAPPED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
