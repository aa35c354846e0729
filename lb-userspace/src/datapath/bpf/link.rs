//! BPF links: they keep a program attached to an interface or a network namespace.
//!
//! A link ends with its last reference: a file descriptor of a process, or a name in a bpffs. The
//! program behind it can be replaced atomically, between two packets (`BPF_LINK_UPDATE`).

use std::{
    ffi::CString,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use super::sys::{self, Cmd};

/// `enum bpf_attach_type`.
const BPF_SK_LOOKUP: u32 = 36;
const BPF_XDP: u32 = 37;
/// `enum bpf_link_type`.
const BPF_LINK_TYPE_NETNS: u32 = 5;
const BPF_LINK_TYPE_XDP: u32 = 6;

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkTarget {
    /// An interface by its index; 0 once it is gone.
    Interface(u32),
    /// A network namespace by its inode; 0 once it is gone.
    Namespace(u32),
    /// Anything that the daemon does not attach to.
    Other,
}

/// The XDP attach mode: `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` in linux/if_link.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachMode {
    Generic = 2,
    Native = 4,
}

impl AttachMode {
    pub(crate) const ALL: [Self; 2] = [Self::Generic, Self::Native];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Native => "native",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
}

impl Link {
    pub(crate) fn to_interface(
        program: BorrowedFd<'_>,
        index: u32,
        mode: AttachMode,
    ) -> io::Result<Self> {
        Self::create(program, index, BPF_XDP, mode as u32)
    }

    pub(crate) fn to_namespace(program: BorrowedFd<'_>, netns: BorrowedFd<'_>) -> io::Result<Self> {
        Self::create(program, sys::number(netns), BPF_SK_LOOKUP, 0)
    }

    fn create(
        program: BorrowedFd<'_>,
        target: u32,
        attach_type: u32,
        flags: u32,
    ) -> io::Result<Self> {
        let program = sys::number(program);
        let mut attr = sys::LinkCreate { program, target, attach_type, flags };
        // SAFETY: `attr` is this command's part of the union and has no pointers; the command
        // returns a descriptor.
        unsafe { sys::bpf_fd(Cmd::LinkCreate, &mut attr) }.map(|fd| Self { fd })
    }

    /// Opens the link that is pinned at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        open_pinned(path).map(|fd| Self { fd })
    }

    /// Pins the link in a bpffs. From then on it outlives the process.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.fd.as_fd(), path)
    }

    /// Replaces the link's program with `program`.
    pub(crate) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let (link, program) = (sys::number(self.fd.as_fd()), sys::number(program));
        let mut attr = sys::LinkUpdate { link, program, ..sys::LinkUpdate::default() };
        // SAFETY: `attr` is this command's part of the union and has no pointers.
        unsafe { sys::bpf(Cmd::LinkUpdate, &mut attr) }
    }

    /// Detaches the link at once, even if others hold references to it.
    pub(crate) fn detach(&self) -> io::Result<()> {
        let mut attr = sys::number(self.fd.as_fd());
        // SAFETY: the command's part of the union is this one word.
        unsafe { sys::bpf(Cmd::LinkDetach, &mut attr) }
    }

    pub(crate) fn target(&self) -> io::Result<LinkTarget> {
        /// The beginning of `struct bpf_link_info`, up to the first word of the part that depends
        /// on the type.
        #[repr(C)]
        struct LinkInfo {
            kind: u32,
            id: u32,
            program: u32,
            pad: u32,
            target: u32,
            attach_type: u32,
        }
        let mut info = MaybeUninit::<LinkInfo>::zeroed();
        let mut attr = sys::Info {
            fd: self.fd.as_raw_fd().cast_unsigned(),
            length: size_of::<LinkInfo>() as u32,
            info: info.as_mut_ptr() as u64,
        };
        // SAFETY: `info` has room for `length` bytes.
        unsafe { sys::bpf(Cmd::Info, &mut attr) }?;
        // SAFETY: integers, all of them zero or written by the kernel.
        let info = unsafe { info.assume_init() };
        Ok(match info.kind {
            BPF_LINK_TYPE_XDP => LinkTarget::Interface(info.target),
            BPF_LINK_TYPE_NETNS => LinkTarget::Namespace(info.target),
            _ => LinkTarget::Other,
        })
    }
}

/// Opens the BPF object that is pinned at `path`.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = sys::Pinned { path: path.as_ptr() as u64, ..sys::Pinned::default() };
    // SAFETY: `path` is a C string that lives through the call; the command returns a descriptor.
    unsafe { sys::bpf_fd(Cmd::OpenPinned, &mut attr) }
}

/// Pins a BPF object in a bpffs.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr =
        sys::Pinned { path: path.as_ptr() as u64, fd: sys::number(fd), ..sys::Pinned::default() };
    // SAFETY: `path` is a C string that lives through the call.
    unsafe { sys::bpf(Cmd::Pin, &mut attr) }
}
