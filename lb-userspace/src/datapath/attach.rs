//! Putting the programs where packets and lookups pass. Every attachment is a BPF link: it ends
//! with its owner, by drop or, when the daemon dies, by the kernel.

use std::{fs::File, io, os::fd::AsRawFd};

use aya::{
    Ebpf,
    maps::{MapData, SockMap},
    programs::{ProgramError, Xdp, XdpMode as Mode, links::FdLink},
};
use lb_common::abi::maps;
use tracing::{info, warn};

use super::{
    DatapathError,
    error::errno,
    load::{sk_lookup, xdp},
};
use crate::settings::XdpMode;

/// The network namespace of the calling thread.
const THIS_NETNS: &str = "/proc/thread-self/ns/net";

/// One interface with our program on it; detaches when dropped.
pub(super) struct Attachment {
    pub(super) interface: String,
    pub(super) mode: &'static str,
    _link: FdLink,
}

/// # Errors
///
/// The interface does not exist, another program is attached, or the driver refuses.
pub(super) fn attach_xdp(
    ebpf: &mut Ebpf,
    interface: &str,
    mode: XdpMode,
) -> Result<Attachment, DatapathError> {
    let program = xdp(ebpf)?;
    let attachment = match mode {
        XdpMode::Native => attach_as(program, interface, Mode::Driver),
        XdpMode::Generic => attach_as(program, interface, Mode::Skb),
        XdpMode::Auto => attach_as(program, interface, Mode::Driver).or_else(|error| {
            if !matches!(error, DatapathError::Attach { .. }) {
                return Err(error);
            }
            warn!(
                interface,
                reason = %error,
                "falling back to generic XDP, which is slower; `xdp = \"generic\"` silences this"
            );
            attach_as(program, interface, Mode::Skb)
        }),
    }?;
    info!(interface, mode = attachment.mode, "attached XDP");
    Ok(attachment)
}

fn attach_as(program: &mut Xdp, interface: &str, mode: Mode) -> Result<Attachment, DatapathError> {
    let name = mode_name(mode);
    if interface.contains('\0') {
        return Err(unknown(interface));
    }
    let id =
        program.attach(interface, mode).map_err(|error| attach_error(interface, name, &error))?;
    let link = program.take_link(id).map_err(|error| attach_error(interface, name, &error))?;
    // aya falls back to netlink where the kernel knows no XDP links. Such an attachment would
    // survive a crash; the failed conversion drops it, which detaches it again.
    let link = FdLink::try_from(link)
        .map_err(|source| DatapathError::NoLink { interface: interface.to_owned(), source })?;
    Ok(Attachment { interface: interface.to_owned(), mode: name, _link: link })
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Driver => "native",
        _ => "generic",
    }
}

fn unknown(interface: &str) -> DatapathError {
    DatapathError::UnknownInterface { interface: interface.to_owned() }
}

fn attach_error(interface: &str, mode: &'static str, error: &ProgramError) -> DatapathError {
    let code = errno(error);
    match (code, error) {
        (_, ProgramError::UnknownInterface { .. }) | (Some(libc::ENODEV), _) => unknown(interface),
        // EEXIST: a program in the other mode.
        (Some(libc::EBUSY | libc::EEXIST), _) => {
            DatapathError::Occupied { interface: interface.to_owned() }
        }
        (Some(libc::EPERM), _) => DatapathError::Privilege,
        _ => DatapathError::Attach {
            interface: interface.to_owned(),
            mode,
            why: why_not(code).to_owned(),
            source: code
                .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error),
        },
    }
}

/// The refusals of drivers that an operator meets (for veth: `veth_xdp_set` in
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

/// The proxy's listener group behind `sk_lookup`; ends when dropped.
pub(super) struct ListenerLink {
    _link: FdLink,
}

/// Stores `listener` in slot 0 of LISTENERS and lets the program decide for this network
/// namespace. Any member of a `SO_REUSEPORT` group stands for the group.
///
/// # Errors
///
/// The socket does not listen, or the namespace takes no further program (64 are its limit).
pub(super) fn attach_listener(
    ebpf: &mut Ebpf,
    listeners: &mut SockMap<MapData>,
    listener: &impl AsRawFd,
) -> Result<ListenerLink, DatapathError> {
    listeners
        .set(0, listener, 0)
        .map_err(|source| DatapathError::table(maps::LISTENERS, source))?;
    let netns = File::open(THIS_NETNS).map_err(DatapathError::Listener)?;
    let program = sk_lookup(ebpf)?;
    let link = program
        .attach(netns)
        .and_then(|id| program.take_link(id))
        .map_err(|error| listener_error(&error))?;
    Ok(ListenerLink { _link: link.into() })
}

fn listener_error(error: &ProgramError) -> DatapathError {
    match errno(error) {
        Some(libc::EPERM) => DatapathError::Privilege,
        Some(code) => DatapathError::Listener(io::Error::from_raw_os_error(code)),
        None => DatapathError::Listener(io::Error::other(error.to_string())),
    }
}
