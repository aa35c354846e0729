//! Watches the host's network for changes.

use std::{
    future, io,
    ops::{BitOr, BitOrAssign},
};

use futures_util::FutureExt as _;
use rtnetlink::{
    MulticastGroup,
    sys::{
        AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
    },
};

use crate::host::error::HostError;

const GROUPS: [MulticastGroup; 10] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Netconf,
    MulticastGroup::Ipv6Netconf,
];
/// The receive buffer, in bytes. Beyond that, messages are lost, and the kernel says so.
const ROOM: usize = 1 << 20;
/// The size of one read: the kernel limits a message of a group to a page or two.
const READ: usize = 1 << 16;

/// What may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces that came, went, or changed their state.
    pub links: bool,
    pub addresses: bool,
    /// Routes in the table `local`.
    pub local_routes: bool,
    /// Routes in the other tables, or rules.
    pub routes: bool,
    /// Forwarding settings, as the kernel reports them.
    pub settings: bool,
    /// Neighbour entries that are no longer certain, have failed or are gone.
    pub neighbours: bool,
}

impl Changes {
    pub const ALL: Self = Self {
        links: true,
        addresses: true,
        local_routes: true,
        routes: true,
        settings: true,
        neighbours: true,
    };

    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl BitOr for Changes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            links: self.links | other.links,
            addresses: self.addresses | other.addresses,
            local_routes: self.local_routes | other.local_routes,
            routes: self.routes | other.routes,
            settings: self.settings | other.settings,
            neighbours: self.neighbours | other.neighbours,
        }
    }
}

impl BitOrAssign for Changes {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// The kernel's notifications about the network namespace of the thread that opened it.
///
/// If notifications are lost, everything may have changed.
pub struct HostWatch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl HostWatch {
    /// Opens a netlink socket. Call this in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        let open = || -> io::Result<TokioSocket> {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            // A smaller buffer only means that more is checked than has changed.
            let _ = socket.socket_mut().set_rx_buf_sz(ROOM);
            for group in GROUPS {
                socket.socket_mut().add_membership(group as u32)?;
            }
            Ok(socket)
        };
        let socket = open().map_err(|source| HostError::Netlink {
            action: "watch the host's network".to_owned(),
            source,
        })?;
        Ok(Self { socket, buffer: Vec::with_capacity(READ) })
    }

    /// Returns when something has changed since the last call.
    pub async fn changed(&mut self) -> Changes {
        loop {
            let mut changes = self.read().await;
            // Takes what else is there, but a flood of messages must not keep us here.
            for _ in 0..256 {
                let Some(more) = self.read().now_or_never() else { break };
                changes |= more;
            }
            if changes.any() {
                return changes;
            }
        }
    }

    async fn read(&mut self) -> Changes {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => changes_in(&self.buffer),
            // ENOBUFS: messages were lost.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Changes::ALL,
            // The periodic checks remain.
            Err(_) => future::pending().await,
        }
    }
}

/// Classifies messages by their headers (`struct nlmsghdr` in linux/netlink.h).
fn changes_in(mut messages: &[u8]) -> Changes {
    const HEAD: usize = 16;
    let mut changes = Changes::default();
    while let Some(length) = messages.first_chunk().map(|it| u32::from_ne_bytes(*it) as usize) {
        let (Some(message), true) = (messages.get(..length), length >= HEAD) else {
            break;
        };
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        changes |= told_by(kind, &message[HEAD..]);
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    changes
}

fn told_by(kind: u16, body: &[u8]) -> Changes {
    /// The offset of `rtm_table` in `struct rtmsg`, and RT_TABLE_LOCAL.
    const TABLE: usize = 4;
    const LOCAL: u8 = 255;
    let none = Changes::default();
    match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => Changes { links: true, ..none },
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Changes { addresses: true, ..none },
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE if body.get(TABLE) == Some(&LOCAL) => {
            Changes { local_routes: true, ..none }
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            Changes { routes: true, ..none }
        }
        libc::RTM_NEWNETCONF => Changes { settings: true, ..none },
        libc::RTM_DELNEIGH => Changes { neighbours: true, ..none },
        libc::RTM_NEWNEIGH => Changes { neighbours: is_in_doubt(body), ..none },
        _ => none,
    }
}

/// Returns whether an entry must be looked at, by `ndm_state` in `struct ndmsg`.
fn is_in_doubt(body: &[u8]) -> bool {
    const STATE: usize = 8;
    const IN_DOUBT: u16 = libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_FAILED;
    let state = body.get(STATE..STATE + 2).and_then(|bytes| bytes.try_into().ok());
    state.is_some_and(|bytes| u16::from_ne_bytes(bytes) & IN_DOUBT != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = 16 + body.len() as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(16, 0);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn messages_say_what_changed() {
        let none = Changes::default();
        let route = |table| [2, 32, 0, 0, table, 76, 0, 0, 0, 0, 0, 0];
        let neighbour = |state: u16| {
            let [low, high] = state.to_ne_bytes();
            [2, 0, 0, 0, 7, 0, 0, 0, low, high, 0, 0]
        };
        for (kind, body, expected) in [
            (libc::RTM_DELLINK, &[0; 16][..], Changes { links: true, ..none }),
            (libc::RTM_NEWADDR, &[0; 8], Changes { addresses: true, ..none }),
            (libc::RTM_DELROUTE, &route(255), Changes { local_routes: true, ..none }),
            (libc::RTM_DELROUTE, &route(254), Changes { routes: true, ..none }),
            (libc::RTM_NEWRULE, &route(254), Changes { routes: true, ..none }),
            (libc::RTM_NEWNETCONF, &[2, 0, 0, 0], Changes { settings: true, ..none }),
            (libc::RTM_DELNEIGH, &neighbour(0), Changes { neighbours: true, ..none }),
            (libc::RTM_NEWNEIGH, &neighbour(libc::NUD_STALE), Changes { neighbours: true, ..none }),
            (libc::RTM_NEWNEIGH, &neighbour(libc::NUD_REACHABLE), none),
            (libc::RTM_NEWNEIGH, &[], none),
            (2, &[], none),
        ] {
            assert_eq!(changes_in(&message(kind, body)), expected, "{kind}");
        }
    }

    #[test]
    fn all_messages_of_a_read_count_and_a_broken_one_ends_it() {
        let mut both = message(libc::RTM_NEWADDR, &[0; 9]);
        both.extend(message(libc::RTM_NEWLINK, &[0; 16]));
        let expected = Changes { links: true, addresses: true, ..Changes::default() };
        assert_eq!(changes_in(&both), expected);
        assert_eq!(changes_in(&both[..59]), Changes { addresses: true, ..Changes::default() });
        assert_eq!(changes_in(&[0; 64]), Changes::default());
        assert_eq!(changes_in(&[1]), Changes::default());
    }
}
