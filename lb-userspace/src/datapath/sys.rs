//! The commands of `bpf(2)` that aya does not offer: single elements by reference, and batches.
//!
//! Layouts: `union bpf_attr` in include/uapi/linux/bpf.h. Trailing members that are absent here
//! count as zero for the kernel.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Cmd {
    Update = 2,
    Delete = 3,
    UpdateBatch = 26,
}

/// The element commands' part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    pub(super) fn new<K, V>(map: BorrowedFd<'_>, key: &K, value: *mut V, flags: u64) -> Self {
        Self {
            map_fd: number(map),
            pad: 0,
            key: &raw const *key as u64,
            value: value as u64,
            flags,
        }
    }
}

/// The batch commands' part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Batch {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    /// In: room for so many. Out: so many were filled or taken.
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// The system call. EINTR is tried again.
///
/// # Safety
///
/// `attr` must be the member of `union bpf_attr` that `cmd` reads, and each pointer in it must be
/// good for what the kernel reads and writes there.
pub(super) unsafe fn bpf<A>(cmd: Cmd, attr: &mut A) -> io::Result<()> {
    loop {
        // SAFETY: the caller vouches for the pointers; the size is that of `attr`.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, cmd as u32, &raw mut *attr, size_of::<A>()) };
        if done >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
