//! Errors of preparing the host's network.

use std::{
    io,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// An error of the host's network. The text says what was tried; the cause is its `source`.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("not allowed to {action}: run lb as root, or with CAP_NET_ADMIN")]
    Privilege { action: String },
    #[error("cannot {action}")]
    Netlink {
        action: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "another lb is running with the state directory {}: stop it, or give this one a \
         `state_dir` of its own", path.display()
    )]
    Running { path: PathBuf },
    #[error(
        "another lb is running in this network namespace, and two would undo each other's routes: \
         stop it, or give this one a namespace of its own (`ip netns add`)"
    )]
    NamespaceTaken,
    #[error("there is no interface `{name}` here; there are: {existing}")]
    UnknownInterface { name: String, existing: String },
    #[error(
        "the host has no route to {to}: add one, or correct the address (`ip route get {to}` shows \
         what the kernel thinks)"
    )]
    NoRoute { to: IpAddr },
    #[error(
        "{to} is an address of this host itself: steered packets go out of the host, so a backend \
         must be another host (ports with handlers can use it)"
    )]
    Local { to: IpAddr },
    #[error(
        "another route of the local table keeps {address} from being local: \
         `ip route show table local {address}` shows it"
    )]
    Shadowed { address: IpAddr },
    #[error(
        "source_ports {}-{} overlap the host's ephemeral ports {}-{}, so connections of the host \
         could collide with steered flows: change source_ports, or \
         `sysctl net.ipv4.ip_local_port_range`, or list the common ones in \
         `sysctl net.ipv4.ip_local_reserved_ports`",
        ours.start(), ours.end(), ephemeral.start(), ephemeral.end()
    )]
    PortOverlap { ours: RangeInclusive<u16>, ephemeral: RangeInclusive<u16> },
    #[error("{} has unexpected content: {content:?}", path.display())]
    Content { path: PathBuf, content: String },
}

impl HostError {
    pub(crate) fn netlink(action: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let action = action.into();
        match errno(error) {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege { action },
            Some(code) => Self::Netlink { action, source: io::Error::from_raw_os_error(code) },
            None => Self::Netlink { action, source: io::Error::other(error.to_string()) },
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}

/// Returns the errno, positive, if the error has one.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}
