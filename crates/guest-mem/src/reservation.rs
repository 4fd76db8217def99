//! The host memory that holds guest RAM: one reservation, RAM in the middle, an inaccessible guard of 32 GiB on
//! either side. All raw memory access of the project's safe crates is here; every access is bounds-checked, so the
//! guards are for emitted code, which masks its final offset instead.

#![allow(unsafe_code, reason = "guest RAM is raw host memory")]

use std::ptr::NonNull;

use crate::{MemError, Word};

/// Bytes of inaccessible address space on either side of RAM.
const GUARD: usize = 32 << 30;

/// Zeroed host memory for guest RAM, released on drop.
pub struct Reservation {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the reservation is plain memory owned by this value; the methods that touch it take offsets, not references.
unsafe impl Send for Reservation {}

impl Reservation {
    /// Reserves `size` bytes of zeroed RAM; pages take host memory when first touched.
    pub fn new(size: usize) -> Result<Self, MemError> {
        let base = host::reserve(GUARD, size).map_err(|reason| MemError::Reserve { bytes: size, reason })?;
        Ok(Self { base, size })
    }

    /// Bytes of RAM.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.size
    }

    /// Always false: RAM has at least one page.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    #[inline(always)]
    fn check(&self, offset: usize, length: usize) {
        assert!(offset <= self.size && length <= self.size - offset, "RAM offset out of range");
    }

    /// Loads a little-endian word at `offset`.
    #[inline(always)]
    pub fn load<T: Word>(&self, offset: usize) -> T {
        self.check(offset, T::SIZE);
        let mut bytes = [0u8; 16];
        // SAFETY: `check` keeps [offset, offset + SIZE) within RAM, which is mapped readable for the life of `self`.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), bytes.as_mut_ptr(), T::SIZE) };
        T::from_le(bytes)
    }

    /// Stores a little-endian word at `offset`.
    #[inline(always)]
    pub fn store<T: Word>(&self, offset: usize, value: T) {
        self.check(offset, T::SIZE);
        let bytes = value.to_le();
        // SAFETY: `check` keeps [offset, offset + SIZE) within RAM, which is mapped writable for the life of `self`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(offset), T::SIZE) };
    }

    /// Copies out of RAM.
    pub fn read(&self, offset: usize, target: &mut [u8]) {
        self.check(offset, target.len());
        // SAFETY: `check` keeps the source within RAM; `target` is a Rust slice and so never overlaps guest RAM.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), target.as_mut_ptr(), target.len()) };
    }

    /// Copies into RAM. Only [`crate::GuestMem`]'s write path calls this.
    pub fn write(&self, offset: usize, source: &[u8]) {
        self.check(offset, source.len());
        // SAFETY: `check` keeps the target within RAM; `source` is a Rust slice and so never overlaps guest RAM.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), self.base.as_ptr().add(offset), source.len()) };
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        host::release(GUARD, self.base, self.size);
    }
}

#[cfg(unix)]
mod host {
    use std::ptr::{NonNull, null_mut};

    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

    pub fn reserve(guard: usize, size: usize) -> Result<NonNull<u8>, String> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choosing touches no existing memory.
        let start = unsafe { mmap_anonymous(null_mut(), size + 2 * guard, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE) }
            .map_err(|error| error.to_string())?;
        // SAFETY: the range lies inside the mapping just made, which nothing else knows yet.
        let ram = unsafe { start.cast::<u8>().add(guard) };
        // SAFETY: as above: a part of our own fresh mapping changes its protection.
        unsafe { mprotect(ram.cast(), size, MprotectFlags::READ | MprotectFlags::WRITE) }.map_err(|error| error.to_string())?;
        NonNull::new(ram).ok_or_else(|| "the host mapped RAM at address zero".to_owned())
    }

    pub fn release(guard: usize, base: NonNull<u8>, size: usize) {
        // SAFETY: `base - guard` is the start of the mapping made by `reserve`, of exactly this length; the owner is being dropped.
        let result = unsafe { munmap(base.as_ptr().sub(guard).cast(), size + 2 * guard) };
        debug_assert!(result.is_ok(), "unmapping our own reservation");
    }
}

#[cfg(windows)]
mod host {
    use std::ptr::{NonNull, null};

    use windows_sys::Win32::System::Memory::{
        MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc, VirtualFree,
    };

    pub fn reserve(guard: usize, size: usize) -> Result<NonNull<u8>, String> {
        // SAFETY: a new reservation at an address of the system's choosing touches no existing memory.
        let start = unsafe { VirtualAlloc(null(), size + 2 * guard, MEM_RESERVE, PAGE_NOACCESS) };
        if start.is_null() {
            return Err(std::io::Error::last_os_error().to_string());
        }
        // SAFETY: the range lies inside the reservation just made.
        let ram = unsafe { VirtualAlloc(start.cast::<u8>().add(guard).cast(), size, MEM_COMMIT, PAGE_READWRITE) };
        NonNull::new(ram.cast()).ok_or_else(|| std::io::Error::last_os_error().to_string())
    }

    pub fn release(guard: usize, base: NonNull<u8>, _size: usize) {
        // SAFETY: `base - guard` is the start of the reservation made by `reserve`; the owner is being dropped.
        unsafe { VirtualFree(base.as_ptr().sub(guard).cast(), 0, MEM_RELEASE) };
    }
}
