//! The `bpf(2)` commands that aya does not offer: single elements by reference, batches, and links
//! with their targets.
//!
//! Layouts: `union bpf_attr` in include/uapi/linux/bpf.h. The kernel treats trailing members that
//! are absent here as zero.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Cmd {
    Lookup = 1,
    Update = 2,
    Delete = 3,
    NextKey = 4,
    Pin = 6,
    OpenPinned = 7,
    Info = 15,
    LookupBatch = 24,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// `union bpf_attr` of the element commands.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    pub(crate) fn new<K, V>(map: BorrowedFd<'_>, key: &K, value: *mut V, flags: u64) -> Self {
        Self {
            map_fd: number(map),
            pad: 0,
            key: &raw const *key as u64,
            value: value as u64,
            flags,
        }
    }

    /// Returns the attributes of [`Cmd::NextKey`]; a null `key` asks for the first one.
    pub(crate) fn after<K>(map: BorrowedFd<'_>, key: *const K, next: *mut K) -> Self {
        Self { map_fd: number(map), pad: 0, key: key as u64, value: next as u64, flags: 0 }
    }
}

/// `union bpf_attr` of the batch commands.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) in_batch: u64,
    pub(crate) out_batch: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    /// In: the capacity. Out: the number of elements filled or taken.
    pub(crate) count: u32,
    pub(crate) map_fd: u32,
    pub(crate) elem_flags: u64,
    pub(crate) flags: u64,
}

/// `union bpf_attr` of the commands for pinned objects.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Pinned {
    /// A C string.
    pub(crate) path: u64,
    pub(crate) fd: u32,
    pub(crate) flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Info {
    pub(crate) fd: u32,
    /// Capacity in bytes.
    pub(crate) length: u32,
    pub(crate) info: u64,
}

/// `union bpf_attr` of `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct LinkCreate {
    pub(crate) program: u32,
    /// File descriptor, or index of an interface.
    pub(crate) target: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_UPDATE` and, by its first member, of `BPF_LINK_DETACH`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct LinkUpdate {
    pub(crate) link: u32,
    pub(crate) program: u32,
    pub(crate) flags: u32,
    pub(crate) expected: u32,
}

pub(crate) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Makes the system call; repeats it after EINTR.
///
/// # Safety
///
/// `attr` must be the member of `union bpf_attr` that `cmd` reads, and each pointer in it must be
/// valid for what the kernel reads and writes there.
pub(crate) unsafe fn bpf<A>(cmd: Cmd, attr: &mut A) -> io::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { call(cmd, attr) }.map(drop)
}

/// Makes the system call for a command that returns a file descriptor.
///
/// # Safety
///
/// As for [`bpf`], and `cmd` must be such a command.
pub(crate) unsafe fn bpf_fd<A>(cmd: Cmd, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let number = unsafe { call(cmd, attr) }?;
    // SAFETY: the kernel just opened it for us alone; descriptors are ints.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// # Safety
///
/// As for [`bpf`].
unsafe fn call<A>(cmd: Cmd, attr: &mut A) -> io::Result<libc::c_long> {
    loop {
        // SAFETY: the caller vouches for the pointers; the size is that of `attr`.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, cmd as u32, &raw mut *attr, size_of::<A>()) };
        if done >= 0 {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
