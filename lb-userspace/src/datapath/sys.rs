//! The commands of `bpf(2)` that aya does not offer: single elements by reference, batches, and
//! links with what they are attached to.
//!
//! Layouts: `union bpf_attr` in include/uapi/linux/bpf.h. Trailing members that are absent here
//! count as zero for the kernel.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Cmd {
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

    /// For [`Cmd::NextKey`]; null: the first key.
    pub(super) fn after<K>(map: BorrowedFd<'_>, key: *const K, next: *mut K) -> Self {
        Self { map_fd: number(map), pad: 0, key: key as u64, value: next as u64, flags: 0 }
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

/// The part of `union bpf_attr` for pinned objects.
#[repr(C)]
#[derive(Default)]
pub(super) struct Pinned {
    /// A C string.
    pub(super) path: u64,
    pub(super) fd: u32,
    pub(super) flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
pub(super) struct Info {
    pub(super) fd: u32,
    /// Room for so many bytes.
    pub(super) length: u32,
    pub(super) info: u64,
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
pub(super) struct LinkCreate {
    pub(super) program: u32,
    /// File descriptor or index of an interface.
    pub(super) target: u32,
    pub(super) attach_type: u32,
    pub(super) flags: u32,
}

/// The part of `union bpf_attr` for `BPF_LINK_UPDATE`, and by its first member for
/// `BPF_LINK_DETACH`.
#[repr(C)]
#[derive(Default)]
pub(super) struct LinkUpdate {
    pub(super) link: u32,
    pub(super) program: u32,
    pub(super) flags: u32,
    pub(super) expected: u32,
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
    // SAFETY: as the caller promises.
    unsafe { call(cmd, attr) }.map(drop)
}

/// The same for a command that answers a file descriptor.
///
/// # Safety
///
/// As of [`bpf`], and `cmd` is such a command.
pub(super) unsafe fn bpf_fd<A>(cmd: Cmd, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let number = unsafe { call(cmd, attr) }?;
    // SAFETY: the kernel just opened it, for nobody else; descriptors are ints.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// # Safety
///
/// As of [`bpf`].
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
