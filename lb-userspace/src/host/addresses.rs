//! The host's own addresses.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};

use super::{
    error::HostError,
    netlink::{Netlink, collect},
    network::Host,
};

/// An address that an interface of this host has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalAddress {
    pub address: IpAddr,
    /// The interface's index.
    pub interface: u32,
    /// Bits of the network around it.
    pub prefix: u8,
    /// Whether the kernel takes it as the source of the host's own packets into the network around
    /// it. A secondary address (`inet_select_addr` in net/ipv4/devinet.c), a deprecated one (RFC
    /// 6724, rule 3) and one with no network around it (`/32`, `/128`) are there to be reached.
    pub is_source: bool,
    /// Whether it may take turns with others there: also a secondary one, but none of IPv6 that is
    /// there for a while only (RFC 8981) or for its link alone.
    pub may_share: bool,
}

impl Host {
    /// Those of all interfaces, the loopback interface's among them.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        self.netlink.local_addresses().await
    }
}

impl LocalAddress {
    /// Whether `other` is in the network around it, where there is one.
    #[must_use]
    pub fn is_around(&self, other: IpAddr) -> bool {
        let network = IpNet::new(self.address, self.prefix);
        self.prefix < bits(self.address) && network.is_ok_and(|network| network.contains(&other))
    }
}

/// Of a whole address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Asks the network namespace of the thread that opened it.
pub struct LocalAddresses(Netlink);

impl LocalAddresses {
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Netlink::open().map(Self)
    }

    /// Those of all interfaces, the loopback interface's among them.
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
    // On a point-to-point link `Address` is the other end's.
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
    // IPv6 has another meaning for the bit of `Secondary`.
    let aside = match address {
        IpAddr::V4(_) => AddressHeaderFlags::Secondary,
        IpAddr::V6(_) => AddressHeaderFlags::Deprecated,
    };
    let header = &message.header;
    let (passing, near) = match address {
        IpAddr::V4(v4) => (false, v4.is_link_local() || v4.is_loopback()),
        IpAddr::V6(v6) => {
            // The bit that is `Secondary` for IPv4 (include/uapi/linux/if_addr.h).
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
