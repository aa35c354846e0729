//! The host's own addresses.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};

use super::connection::{Netlink, collect};
use crate::host::error::HostError;

/// An address of an interface of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    pub address: IpAddr,
    /// The interface's index.
    pub interface: u32,
    /// Prefix length of the network around it.
    pub prefix: u8,
    /// Whether the kernel uses it as the source of the host's own packets into the network around
    /// it. Not so for a secondary address (`inet_select_addr` in net/ipv4/devinet.c), a deprecated
    /// one (RFC 6724, rule 3) and one without a network around it (`/32`, `/128`).
    pub is_source: bool,
    /// Whether it may share the traffic with other source addresses there: also a secondary one,
    /// but no temporary (RFC 8981) or link-local IPv6 address.
    pub may_share: bool,
}

impl LocalAddress {
    /// Returns whether `other` is in the network around it, if there is one.
    #[must_use]
    pub fn is_around(&self, other: IpAddr) -> bool {
        let network = IpNet::new(self.address, self.prefix);
        self.prefix < bits(self.address) && network.is_ok_and(|network| network.contains(&other))
    }
}

/// Returns the number of bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Reads the local addresses of the network namespace of the thread that opened it.
pub struct LocalAddresses(Netlink);

impl LocalAddresses {
    /// Opens a netlink socket. Call this in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Netlink::open().map(Self)
    }

    /// Returns the addresses of all interfaces, the loopback interface included.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn all(&self) -> Result<BTreeSet<IpAddr>, HostError> {
        let addresses = self.0.local_addresses().await?;
        Ok(addresses.into_iter().map(|local| local.address).collect())
    }
}

impl Netlink {
    pub(crate) async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        let messages = collect(self.handle.address().get().execute()).await;
        let messages =
            messages.map_err(|error| HostError::netlink("list the addresses", &error))?;
        Ok(messages.iter().filter_map(describe).collect())
    }
}

fn describe(message: &AddressMessage) -> Option<LocalAddress> {
    let found = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(wanted)
    };
    // On a point-to-point link `Address` is the peer's.
    let local = found(|it| match it {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        found(|it| match it {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    // For IPv6 the bit of `Secondary` means something else.
    let aside = match address {
        IpAddr::V4(_) => AddressHeaderFlags::Secondary,
        IpAddr::V6(_) => AddressHeaderFlags::Deprecated,
    };
    let header = &message.header;
    let (passing, near) = match address {
        IpAddr::V4(v4) => (false, v4.is_link_local() || v4.is_loopback()),
        IpAddr::V6(v6) => {
            // The bit that means `Secondary` for IPv4 (include/uapi/linux/if_addr.h).
            let flags = AddressHeaderFlags::Secondary | AddressHeaderFlags::Deprecated;
            (header.flags.intersects(flags), v6.is_unicast_link_local() || v6.is_loopback())
        }
    };
    Some(LocalAddress {
        address,
        interface: header.index,
        prefix: header.prefix_len,
        is_source: header.prefix_len < bits(address) && !header.flags.contains(aside),
        may_share: header.prefix_len < bits(address) && !passing && !near,
    })
}
