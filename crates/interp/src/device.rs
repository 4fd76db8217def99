//! Accesses that a device outside the engine must answer: ports, and physical memory that is no RAM.
//!
//! The engine never calls out. The first time an instruction reaches such an access it stops with [`Stop::Exit`]
//! and the access stands in [`DeviceAccess::wanted`]. The owner answers, and the instruction runs again *from its
//! start*, with its earlier accesses answered from the log. An instruction may make several (a `movs` from device
//! to device, a read-modify-write): each one exits once. The log is dropped when the instruction completes or faults.

use guest_mem::Word;

use crate::core::{Core, Exec, Stop};

/// Which address space an access is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Port,
    Memory,
}

/// One access: `data` is what is written, or for a read what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub space: Space,
    pub write: bool,
    /// Port number or guest-physical address.
    pub address: u64,
    /// Bytes: 1, 2, 4, or in memory 8.
    pub size: u8,
    pub data: u64,
}

/// The accesses of the instruction in progress.
#[derive(Debug, Default)]
pub struct DeviceAccess {
    /// The access that waits for its answer.
    pub wanted: Option<Access>,
    answered: Vec<Access>,
    used: usize,
}

impl DeviceAccess {
    /// Answers the wanted access: `data` for a read, ignored for a write.
    pub fn answer(&mut self, data: u64) {
        if let Some(mut access) = self.wanted.take() {
            if !access.write {
                access.data = data;
            }
            self.answered.push(access);
            self.used = 0;
        }
    }

    /// True while an instruction is half-way through its accesses: no interrupt may come between.
    #[inline(always)]
    pub fn in_progress(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Forgets the log: the instruction completed or faulted.
    #[inline(always)]
    pub fn finish(&mut self) {
        if !self.answered.is_empty() {
            self.answered.clear();
            self.used = 0;
        }
    }
}

impl Core {
    /// Makes one device access: from the log, or as an exit.
    pub(crate) fn device_access(&mut self, access: Access) -> Exec<u64> {
        let log = &mut self.device;
        // The instruction is deterministic, so that a repeated run asks for the same accesses in the same order.
        if let Some(known) = log.answered.get(log.used) {
            log.used += 1;
            self.attention.leave_block = true;
            return Ok(known.data);
        }
        log.wanted = Some(access);
        log.used = 0;
        Err(Stop::Exit)
    }

    /// Reads a device or the Local APIC's page at guest-physical `address`, not crossing a page.
    pub(crate) fn device_read<T: Word>(&mut self, address: u64) -> Exec<T> {
        if T::SIZE == 16 {
            let low = self.device_read::<u64>(address)?;
            let high = self.device_read::<u64>(address + 8)?;
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[8..].copy_from_slice(&high.to_le_bytes());
            return Ok(T::from_le(bytes));
        }
        if self.lapic.mmio_base() == Some(address & !0xfff) {
            let now = self.now();
            return Ok(T::of(self.lapic.read_mmio((address & 0xfff) as u16, T::SIZE as u8, now)));
        }
        let access = Access { space: Space::Memory, write: false, address, size: T::SIZE as u8, data: 0 };
        Ok(T::of(self.device_access(access)?))
    }

    /// Writes a device or the Local APIC's page at guest-physical `address`, not crossing a page.
    pub(crate) fn device_write<T: Word>(&mut self, address: u64, value: T) -> Exec {
        if T::SIZE == 16 {
            let bytes = value.to_le();
            let half = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("half of 16 bytes"));
            self.device_write::<u64>(address, half(0))?;
            return self.device_write::<u64>(address + 8, half(8));
        }
        if self.lapic.mmio_base() == Some(address & !0xfff) {
            let now = self.now();
            self.lapic.write_mmio((address & 0xfff) as u16, T::SIZE as u8, value.u64(), now);
            // It may have ended an interrupt, sent one, or set the timer.
            self.leave_block();
            return Ok(());
        }
        let access = Access { space: Space::Memory, write: true, address, size: T::SIZE as u8, data: value.u64() };
        self.device_access(access).map(|_| ())
    }

    /// IN: reads a port.
    pub(crate) fn port_read(&mut self, port: u16, size: u8) -> Exec<u64> {
        self.device_access(Access { space: Space::Port, write: false, address: u64::from(port), size, data: 0 })
    }

    /// OUT: writes a port.
    pub(crate) fn port_write(&mut self, port: u16, size: u8, data: u64) -> Exec {
        self.device_access(Access { space: Space::Port, write: true, address: u64::from(port), size, data }).map(|_| ())
    }
}
