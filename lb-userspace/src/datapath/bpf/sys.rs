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

/// The element commands' part of `union bpf_attr`.
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

    /// For [`Cmd::NextKey`]; null: the first key.
    pub(crate) fn after<K>(map: BorrowedFd<'_>, key: *const K, next: *mut K) -> Self {
        Self { map_fd: number(map), pad: 0, key: key as u64, value: next as u64, flags: 0 }
    }
}

/// The batch commands' part of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) in_batch: u64,
    pub(crate) out_batch: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    /// In: room for so many. Out: so many were filled or taken.
    pub(crate) count: u32,
    pub(crate) map_fd: u32,
    pub(crate) elem_flags: u64,
    pub(crate) flags: u64,
}

/// The part of `union bpf_attr` for pinned objects.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Pinned {
    /// A C string.
    pub(crate) path: u64,
    pub(crate) fd: u32,
    pub(crate) flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Info {
    pub(crate) fd: u32,
    /// Room for so many bytes.
    pub(crate) length: u32,
    pub(crate) info: u64,
}

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct LinkCreate {
    pub(crate) program: u32,
    /// File descriptor or index of an interface.
    pub(crate) target: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
}

/// The part of `union bpf_attr` for `BPF_LINK_UPDATE`, and by its first member for
/// `BPF_LINK_DETACH`.
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

/// The system call. EINTR is tried again.
///
/// # Safety
///
/// `attr` must be the member of `union bpf_attr` that `cmd` reads, and each pointer in it must be
/// good for what the kernel reads and writes there.
pub(crate) unsafe fn bpf<A>(cmd: Cmd, attr: &mut A) -> io::Result<()> {
    // SAFETY: as the caller promises.
    unsafe { call(cmd, attr) }.map(drop)
}

/// The same for a command that answers a file descriptor.
///
/// # Safety
///
/// As of [`bpf`], and `cmd` is such a command.
pub(crate) unsafe fn bpf_fd<A>(cmd: Cmd, attr: &mut A) -> io::Result<OwnedFd> {
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
