//! Entries of the kernel's neighbour tables (ARP and neighbour discovery).

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    HostError,
    error::errno,
    netlink::{Netlink, collect, protocol},
};
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
};

/// A neighbour: its address on the network of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// What the kernel knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its link-layer address is known, if perhaps old.
    pub(super) resolved: bool,
    /// Set by an administrator, or on a network without link-layer addresses.
    pub(super) fixed: bool,
    /// The kernel keeps it resolved.
    pub(super) managed: bool,
    /// The kernel removes it for nobody else's sake, and it does not count among those that it has
    /// room for (`gc_thresh3`).
    pub(super) exempt: bool,
    /// It carries our mark.
    pub(super) ours: bool,
}

impl Netlink {
    /// All entries of both families.
    pub(super) async fn neighbours(&self) -> Result<BTreeMap<Hop, Entry>, HostError> {
        let dump = collect(self.handle.neighbours().get().execute()).await;
        let dump = dump.map_err(|error| HostError::netlink("list the neighbours", &error))?;
        Ok(dump.iter().filter_map(read).collect())
    }

    /// The address of one, where it is known.
    pub(super) async fn link_address(&self, hop: Hop) -> Result<Option<[u8; 6]>, HostError> {
        let dump = collect(self.handle.neighbours().get().execute()).await;
        let dump = dump.map_err(|error| HostError::netlink("list the neighbours", &error))?;
        let mut same = dump.iter().filter(|message| {
            read(message).is_some_and(|(other, entry)| other == hop && entry.resolved)
        });
        let attributes = same.next().into_iter().flat_map(|message| &message.attributes);
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes[..].try_into().ok(),
            _ => None,
        }))
    }

    /// Has the kernel look for the neighbour now and, since 5.16, keep it resolved. Older kernels
    /// ignore the second wish.
    ///
    /// It is entered as learned by us (`NTF_EXT_LEARNED`): there is room for a thousand of the
    /// others by default (`gc_thresh3`, arp(7), for all network namespaces together), and from half
    /// as many on (`gc_thresh2`) the kernel removes those that it has not heard of for five seconds
    /// (`neigh_alloc`, `neigh_forced_gc` in net/core/neighbour.c).
    pub(super) async fn resolve(&self, hop: Hop) -> Result<(), HostError> {
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

    /// Removes the entry. Where it is still used, the kernel makes itself a new one.
    pub(super) async fn forget(&self, hop: Hop) -> Result<(), HostError> {
        let mut message = NeighbourMessage::default();
        message.header.family = match hop.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = hop.interface;
        let destination = NeighbourAddress::from(hop.address);
        message.attributes.push(NeighbourAttribute::Destination(destination));
        match self.handle.neighbours().del(message).execute().await {
            // The entry or its interface is gone already.
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

fn read(message: &NeighbourMessage) -> Option<(Hop, Entry)> {
    let state = message.header.state;
    let mut address = None;
    let mut entry = Entry {
        resolved: is_resolved(state),
        fixed: matches!(state, NeighbourState::Permanent | NeighbourState::Noarp),
        exempt: message.header.flags.contains(NeighbourFlags::ExtLearned),
        ..Entry::default()
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
            _ => {}
        }
    }
    let hop = Hop { interface: message.header.ifindex, address: address? };
    Some((hop, entry))
}

/// `NUD_VALID` in include/net/neighbour.h: the states in which `bpf_fib_lookup` takes it.
fn is_resolved(state: NeighbourState) -> bool {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    matches!(state, Permanent | Noarp | Reachable | Probe | Stale | Delay)
}
