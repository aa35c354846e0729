//! Entries of the kernel's neighbour tables (ARP and neighbour discovery).

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::host::{
    error::{HostError, errno},
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
pub(crate) struct Neighbour {
    pub(crate) interface: u32,
    pub(crate) address: IpAddr,
}

/// What the kernel knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NeighbourEntry {
    pub(crate) state: State,
    /// Since it was heard of for sure.
    pub(crate) confirmed: Duration,
    /// It sends router advertisements.
    pub(crate) router: bool,
    /// The kernel keeps it resolved.
    pub(crate) managed: bool,
    /// The kernel removes it for nobody else's sake, and it does not count among those that it has
    /// room for (`gc_thresh3`).
    pub(crate) exempt: bool,
    /// It carries our mark.
    pub(crate) ours: bool,
}

/// As far as it makes a difference here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// There is no entry, or nobody has answered.
    #[default]
    Unknown,
    /// Everybody on the link is being asked.
    Incomplete,
    /// It was true once.
    Stale,
    /// The neighbour itself is being asked.
    Probe,
    Reachable,
    /// Set by an administrator, or on a network without link-layer addresses.
    Permanent,
}

impl NeighbourEntry {
    /// Its link-layer address is known, if perhaps old: `bpf_fib_lookup` takes it.
    pub(crate) fn is_resolved(self) -> bool {
        !matches!(self.state, State::Unknown | State::Incomplete)
    }

    /// Those of its flags that a message about it has to repeat.
    fn flags(self) -> NeighbourFlags {
        let mut flags = NeighbourFlags::empty();
        flags.set(NeighbourFlags::Router, self.router);
        flags.set(NeighbourFlags::ExtLearned, self.exempt);
        flags
    }
}

impl Netlink {
    /// All entries of both families.
    pub(crate) async fn neighbours(
        &self,
    ) -> Result<BTreeMap<Neighbour, NeighbourEntry>, HostError> {
        let dump = collect(self.handle.neighbours().get().execute()).await;
        let dump = dump.map_err(|error| HostError::netlink("list the neighbours", &error))?;
        Ok(dump.iter().filter_map(read).collect())
    }

    /// The address of one, where it is known.
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

    /// Has the kernel look for the neighbour now and, since 5.16, keep it resolved. Older kernels
    /// ignore the second wish.
    ///
    /// It is entered as learned by us (`NTF_EXT_LEARNED`): there is room for a thousand of the
    /// others by default (`gc_thresh3`, arp(7), for all network namespaces together), and from half
    /// as many on (`gc_thresh2`) the kernel removes those that it has not heard of for five seconds
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

    /// Has the kernel ask for the neighbour as it does for packets of its own, which leaves the
    /// entry what it is otherwise.
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

    /// Has the kernel ask the neighbour at the address that is known, at once (RFC 4861 7.3.3). The
    /// entry counts meanwhile.
    pub(crate) async fn probe_unicast(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
    ) -> Result<(), HostError> {
        self.move_to(hop, entry, NeighbourState::Probe).await
    }

    /// Gives up what is known, and has the kernel ask everybody on the link.
    pub(crate) async fn probe_all(
        &self,
        hop: Neighbour,
        entry: NeighbourEntry,
    ) -> Result<(), HostError> {
        self.move_to(hop, entry, NeighbourState::Failed).await?;
        if entry.managed { Ok(()) } else { self.trigger_resolution(hop, entry).await }
    }

    /// The kernel moves an entry only while it does not manage it (`__neigh_update` in
    /// net/core/neighbour.c); what we do not tell of its flags is lost.
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

    /// Removes the entry. Where it is still used, the kernel makes itself a new one.
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
                // In hundredths of a second.
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
