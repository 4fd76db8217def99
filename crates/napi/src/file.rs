//! What Node.js lacks for the files that hold disks: a lock that the kernel keeps, and holes.
//!
//! Files come as the numbers of Node's descriptors. On Windows such a number means something only to the C runtime
//! inside Node: there every lock is granted and no hole is punched, as on systems that have no such call.

use napi::bindgen_prelude::AsyncTask;
use napi::{Env, Result, Task};
use napi_derive::napi;

use crate::whole;

/// Locks the open file without waiting: for itself alone, or together with other holders of shared locks. False when
/// another open file (of any process, or of this one) holds a lock that forbids it. The lock ends when the file is
/// closed, at the latest with the process. It binds those who ask for one (flock), not plain reads and writes.
///
/// A file system without locks grants every one. Errors are the system's.
#[napi]
pub fn lock_file(fd: i32, exclusive: bool) -> Result<bool> {
    Ok(host::lock(fd, exclusive)?)
}

/// Gives the storage of a range of bytes back, on a thread of libuv's pool, because a file system may first write out
/// what is dirty there. The range reads as zeroes afterwards; the file's size stays. Resolves with false, and has
/// changed nothing, where the host cannot. Errors are the system's.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn punch_hole(fd: i32, offset: f64, length: f64) -> Result<AsyncTask<PunchHole>> {
    let (offset, length) = (whole("offset", offset)?, whole("length", length)?);
    Ok(AsyncTask::new(PunchHole { file: host::share(fd)?, offset, length }))
}

/// A hole to be punched. It owns a duplicate of the descriptor: the number may name another file by the time it runs.
pub struct PunchHole {
    file: host::File,
    offset: u64,
    length: u64,
}

impl Task for PunchHole {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> Result<bool> {
        Ok(host::punch(&self.file, self.offset, self.length)?)
    }

    fn resolve(&mut self, _env: Env, punched: bool) -> Result<bool> {
        Ok(punched)
    }
}

#[cfg(unix)]
mod host {
    use std::io::{Error, Result};
    use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

    use rustix::fs::FlockOperation;
    use rustix::io::Errno;

    pub type File = OwnedFd;

    pub fn lock(fd: RawFd, exclusive: bool) -> Result<bool> {
        let operation = if exclusive { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
        match rustix::fs::flock(borrow(fd)?, operation) {
            Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub fn share(fd: RawFd) -> Result<File> {
        borrow(fd)?.try_clone_to_owned()
    }

    /// Invalid is what a block device says of a range that does not fit its own, larger sectors.
    #[cfg(target_os = "linux")]
    pub fn punch(file: &File, offset: u64, length: u64) -> Result<bool> {
        use rustix::fs::{FallocateFlags, fallocate};
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::io::retry_on_intr(|| fallocate(file, hole, offset, length)) {
            Ok(()) => Ok(true),
            Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub fn punch(_file: &File, _offset: u64, _length: u64) -> Result<bool> {
        Ok(false)
    }

    /// For the length of one call from JavaScript; Node calls on its own thread, where nothing can close the file meanwhile.
    fn borrow<'call>(fd: RawFd) -> Result<BorrowedFd<'call>> {
        if fd < 0 {
            return Err(Error::from(Errno::BADF));
        }
        // SAFETY: `fd` is not negative, and stays open until the call returns, as said above; the kernel refuses a number that is not open.
        #[expect(unsafe_code, reason = "Node hands out descriptors as numbers")]
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

#[cfg(not(unix))]
mod host {
    use std::io::Result;

    pub struct File;

    pub fn lock(_fd: i32, _exclusive: bool) -> Result<bool> {
        Ok(true)
    }

    pub fn share(_fd: i32) -> Result<File> {
        Ok(File)
    }

    pub fn punch(_file: &File, _offset: u64, _length: u64) -> Result<bool> {
        Ok(false)
    }
}
