//! Attaches the programs to interfaces and to the network namespace. Every attachment is a BPF
//! link: it ends when its owner drops it or dies, unless it is pinned.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
};

use tracing::{info, warn};

use crate::datapath::{
    bpf::{
        error::DatapathError,
        link::{AttachMode, Link},
    },
    persist::{file_identity::FileIdentity, pins::PinnedXdp},
};
use crate::settings::XdpMode;

/// The network namespace of the calling thread.
const THIS_NETNS: &str = "/proc/thread-self/ns/net";

/// An interface with one of our programs; detached on drop, unless it is pinned.
pub(crate) struct Attachment {
    pub(crate) interface: String,
    pub(crate) index: u32,
    pub(crate) mode: AttachMode,
    pub(crate) link: Link,
    /// Its path in the bpffs.
    pub(crate) name: Option<PathBuf>,
    /// The identity of that file.
    pub(crate) identity: Option<FileIdentity>,
    /// Whether the program is this daemon's, not that of an earlier one.
    pub(crate) current: bool,
}

impl Attachment {
    /// Takes over an earlier daemon's attachment; its program stays for now.
    pub(crate) fn inherit(interface: &str, left: PinnedXdp, wanted: XdpMode) -> Self {
        let PinnedXdp { index, mode, link, path } = left;
        if !wants(wanted, mode) {
            warn!(
                interface,
                mode = mode.name(),
                "XDP keeps its mode, because a change would interrupt it: \
                 run `lb detach` first"
            );
        }
        let interface = interface.to_owned();
        let identity = FileIdentity::of(&path);
        Self { interface, index, mode, link, name: Some(path), identity, current: false }
    }
}

fn wants(wanted: XdpMode, mode: AttachMode) -> bool {
    match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => mode == AttachMode::Native,
        XdpMode::Generic => mode == AttachMode::Generic,
    }
}

/// # Errors
///
/// Another program is attached, or the driver refuses.
pub(crate) fn attach_xdp(
    program: BorrowedFd<'_>,
    interface: &str,
    index: u32,
    mode: XdpMode,
) -> Result<Attachment, DatapathError> {
    let attach = |mode| attach_as(program, interface, index, mode);
    let attachment = match mode {
        XdpMode::Native => attach(AttachMode::Native),
        XdpMode::Generic => attach(AttachMode::Generic),
        XdpMode::Auto => attach(AttachMode::Native).or_else(|error| {
            if !matches!(error, DatapathError::Attach { .. }) {
                return Err(error);
            }
            warn!(
                interface,
                reason = %error,
                "falling back to generic XDP, which is slower; `xdp = \"generic\"` silences this"
            );
            attach(AttachMode::Generic)
        }),
    }?;
    info!(interface, mode = attachment.mode.name(), "attached XDP");
    Ok(attachment)
}

fn attach_as(
    program: BorrowedFd<'_>,
    interface: &str,
    index: u32,
    mode: AttachMode,
) -> Result<Attachment, DatapathError> {
    let link = Link::to_interface(program, index, mode)
        .map_err(|error| attach_error(interface, mode.name(), error))?;
    let interface = interface.to_owned();
    Ok(Attachment { interface, index, mode, link, name: None, identity: None, current: true })
}

fn attach_error(interface: &str, mode: &'static str, source: io::Error) -> DatapathError {
    let (code, interface) = (source.raw_os_error(), interface.to_owned());
    match code {
        Some(libc::ENODEV) => DatapathError::UnknownInterface { interface },
        // EEXIST: a program in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => DatapathError::Occupied { interface },
        Some(libc::EPERM) => DatapathError::Privilege,
        // Kernels before 5.9 return this for an unknown command; some drivers return it, too.
        Some(libc::ENOSYS) => DatapathError::NoLink { interface, source },
        _ => {
            let why = why_not(code).to_owned();
            DatapathError::Attach { interface, mode, why, source }
        }
    }
}

/// Explains the refusals of drivers that operators meet (for veth: `veth_xdp_set` in
/// drivers/net/veth.c).
fn why_not(code: Option<i32>) -> &'static str {
    match code {
        Some(libc::ERANGE | libc::EINVAL) => {
            "its MTU, or on a veth the peer's, is too large for one page per frame (at most about \
             3506 bytes on a veth): lower it, or use `xdp = \"generic\"`"
        }
        Some(libc::ENOSPC) => {
            "the veth has more receive queues than its peer has transmit queues: make them equal, \
             or use `xdp = \"generic\"`"
        }
        Some(libc::EOPNOTSUPP) => {
            "its driver has no native XDP: use `xdp = \"generic\"` or \"auto\""
        }
        Some(libc::ENOMEM) => "the driver found no memory or queues for it",
        _ => "the driver refuses",
    }
}

/// The `sk_lookup` attachment of the proxy's listener group; ends on drop, unless it is pinned.
pub(crate) struct LookupAttachment {
    pub(crate) link: Link,
    /// The identity of its file in the bpffs.
    pub(crate) identity: Option<FileIdentity>,
    pub(crate) current: bool,
}

/// Attaches the program to the network namespace of the calling thread.
///
/// # Errors
///
/// The namespace takes no more programs (the limit is 64).
pub(crate) fn attach_lookup(program: BorrowedFd<'_>) -> Result<LookupAttachment, DatapathError> {
    let netns = File::open(THIS_NETNS).map_err(DatapathError::Listener)?;
    let link =
        Link::to_namespace(program, netns.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => DatapathError::Privilege,
            _ => DatapathError::Listener(error),
        })?;
    Ok(LookupAttachment { link, identity: None, current: true })
}
