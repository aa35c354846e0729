//! Reads and changes entries of the kernel's neighbour tables (ARP and neighbour discovery).

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::connection::{Netlink, collect, protocol};
use crate::host::error::{HostError, errno};
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
};

/// A neighbour: its address on the network of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour {
    pub(crate) interface: u32,
    pub(crate) address: IpAddr,
}

/// A neighbour entry of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NeighbourEntry {
    pub(crate) state: State,
    /// Time since its last confirmation.
    pub(crate) confirmed: Duration,
    /// It sends router advertisements.
    pub(crate) router: bool,
    /// The kernel keeps it resolved (`NTF_EXT_MANAGED`).
    pub(crate) managed: bool,
    /// It is exempt from garbage collection, and does not count towards `gc_thresh3`.
    pub(crate) exempt: bool,
    /// It carries our mark.
    pub(crate) ours: bool,
}

/// The state of an entry (`NUD_*`), as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no entry, or nobody has answered: `NUD_NONE`, `NUD_FAILED`.
    #[default]
    Unknown,
    /// It is being resolved by multicast or broadcast.
    Incomplete,
    /// It was reachable once; not confirmed of late.
    Stale,
    /// It is being confirmed by unicast: `NUD_DELAY`, `NUD_PROBE`.
    Probe,
    Reachable,
    /// It needs no confirmation: set by an administrator, or on a network without link-layer
    /// addresses.
    Permanent,
}

impl NeighbourEntry {
    /// Returns whether its link-layer address is known, perhaps outdated: `bpf_fib_lookup` uses it.
    pub(crate) fn is_resolved(self) -> bool {
        !matches!(self.state, State::Unknown | State::Incomplete)
    }

    /// Returns those of its flags that a message about it must repeat.
    fn flags(self) -> NeighbourFlags {
        let mut flags = NeighbourFlags::empty();
        flags.set(NeighbourFlags::Router, self.router);
        flags.set(NeighbourFlags::ExtLearned, self.exempt);
        flags
    }
}

impl Netlink {
    /// Returns all entries of both families.
    pub(crate) async fn neighbours(
        &self,
    ) -> Result<BTreeMap<Neighbour, NeighbourEntry>, HostError> {
        let dump = collect(self.handle.neighbours().get().execute()).await;
        let dump = dump.map_err(|error| HostError::netlink("list the neighbours", &error))?;
        Ok(dump.iter().filter_map(read).collect())
    }

    /// Returns the link-layer address of a neighbour, if known.
    pub(crate) async fn link_address(&self, hop: Neighbour) -> Result<Option<[u8; 6]>, HostError> {
        let dump = collect(self.handle.neighbours().get().execute()).await;
        let dump = dump.map_err(|error| HostError::netlink("list the neighbours", &error))?;
        let mut same = dump.iter().filter(|message| {
            read(message).is_some_and(|(other, entry)| other == hop && entry.is_resolved())
        });
        let attributes = same.next().into_iter().flat_map(|message| &message.attributes);
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes[..].try_into().ok(),
            _ => None,
        }))
    }

    /// Makes the kernel resolve the neighbour now and, since 5.16, keep it resolved. Older kernels
    /// ignore the second request.
    ///
    /// The entry is marked as learned externally (`NTF_EXT_LEARNED`). There is room for a thousand
    /// other entries by default (`gc_thresh3`, arp(7), for all network namespaces together), and
    /// from half as many on (`gc_thresh2`) the kernel removes those not confirmed for five seconds
    /// (`neigh_alloc`, `neigh_forced_gc` in net/core/neighbour.c).
    pub(crate) async fn resolve(&self, hop: Neighbour) -> Result<(), HostError> {
        let mut request = self.handle.neighbours().add(hop.interface, hop.address);
        request.message_mut().attributes.extend([
            NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
            NeighbourAttribute::Protocol(protocol()),
        ]);
        let flags = NeighbourFlags::Use | NeighbourFlags::ExtLearned;
        let request = request.state(NeighbourState::None).flags(flags).replace();
        request.execute().await.map_err(|error| {
            HostError::netlink(format!("resolve the neighbour {}", hop.address), &error)
        })
    }

    /// Makes the kernel resolve the neighbour as it does for its own packets; otherwise the entry
    /// stays as it is.
    pub(crate) async fn trigger_resolution(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
    ) -> Result<(), HostError> {
        let request = self.handle.neighbours().add(hop.interface, hop.address);
        let flags = entry.flags() | NeighbourFlags::Use;
        let request = request.state(NeighbourState::None).flags(flags).replace();
        request.execute().await.map_err(|error| {
            HostError::netlink(format!("look for the neighbour {}", hop.address), &error)
        })
    }

    /// Makes the kernel probe the neighbour at its known address, at once (RFC 4861 7.3.3). The
    /// entry is usable meanwhile.
    pub(crate) async fn probe_unicast(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
    ) -> Result<(), HostError> {
        self.move_to(hop, entry, NeighbourState::Probe).await
    }

    /// Drops the known address and makes the kernel probe by multicast or broadcast.
    pub(crate) async fn probe_all(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
    ) -> Result<(), HostError> {
        self.move_to(hop, entry, NeighbourState::Failed).await?;
        if entry.managed { Ok(()) } else { self.trigger_resolution(hop, entry).await }
    }

    /// Sets an entry's state. The kernel allows it only while it does not manage the entry
    /// (`__neigh_update` in net/core/neighbour.c); flags that the message does not repeat are lost.
    async fn move_to(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
        state: NeighbourState,
    ) -> Result<(), HostError> {
        let request = self.handle.neighbours().add(hop.interface, hop.address);
        let moved = request.state(state).flags(entry.flags()).replace().execute().await;
        let moved = moved.map_err(|error| {
            HostError::netlink(format!("ask the neighbour {}", hop.address), &error)
        });
        if entry.managed { self.resolve(hop).await.and(moved) } else { moved }
    }

    /// Removes the entry. If it is still used, the kernel makes a new one.
    pub(crate) async fn forget(&self, hop: Neighbour) -> Result<(), HostError> {
        let mut message = NeighbourMessage::default();
        message.header.family = match hop.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = hop.interface;
        let destination = NeighbourAddress::from(hop.address);
        message.attributes.push(NeighbourAttribute::Destination(destination));
        match self.handle.neighbours().del(message).execute().await {
            // The entry or its interface is already gone.
            Err(error)
                if matches!(errno(&error), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) =>
            {
                Ok(())
            }
            other => other.map_err(|error| {
                HostError::netlink(format!("forget the neighbour {}", hop.address), &error)
            }),
        }
    }
}

fn read(message: &NeighbourMessage) -> Option<(Neighbour, NeighbourEntry)> {
    let flags = message.header.flags;
    let mut address = None;
    let mut entry = NeighbourEntry {
        state: state(message.header.state),
        exempt: flags.contains(NeighbourFlags::ExtLearned),
        router: flags.contains(NeighbourFlags::Router),
        ..NeighbourEntry::default()
    };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::ExtFlags(flags) => {
                entry.managed = flags.contains(NeighbourExtFlags::Managed);
            }
            NeighbourAttribute::Protocol(by) => entry.ours = *by == protocol(),
            NeighbourAttribute::CacheInfo(info) => {
                // The value is in hundredths of a second.
                entry.confirmed = Duration::from_millis(u64::from(info.confirmed) * 10);
            }
            _ => {}
        }
    }
    let hop = Neighbour { interface: message.header.ifindex, address: address? };
    Some((hop, entry))
}

fn state(state: NeighbourState) -> State {
    use NeighbourState::{Delay, Incomplete, Noarp, Permanent, Probe, Reachable, Stale};
    match state {
        Permanent | Noarp => State::Permanent,
        Reachable => State::Reachable,
        Probe => State::Probe,
        Stale | Delay => State::Stale,
        Incomplete => State::Incomplete,
        _ => State::Unknown,
    }
}
