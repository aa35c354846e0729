//! Makes announced addresses local by routes: packets to them are delivered to this host's sockets
//! without the address being on an interface, so that the host does not answer ARP for it and never
//! picks it as a source.

use std::{collections::BTreeSet, net::IpAddr};

use rtnetlink::{
    Error,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
            RouteType,
        },
    },
};
use tracing::debug;

use super::host::Host;
use crate::host::{
    error::{HostError, errno},
    netlink::connection::{Netlink, protocol, route},
};

/// `RT_TABLE_LOCAL` in include/uapi/linux/rtnetlink.h: looked up before all others.
const LOCAL_TABLE: u8 = 255;

impl Host {
    /// Makes exactly these addresses local (`ip route add local ADDRESS dev lo`), and removes the
    /// others. An address that is local for another reason is left alone.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel refuses; changes before the failed one stay.
    pub async fn announce(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), HostError> {
        let gone: Vec<IpAddr> = self.announced.difference(addresses).copied().collect();
        for address in gone {
            self.netlink.withdraw(address).await?;
            self.announced.remove(&address);
        }
        let new: Vec<IpAddr> = addresses.difference(&self.announced).copied().collect();
        for address in new {
            if self.netlink.announce(address, self.loopback).await? {
                self.announced.insert(address);
            }
        }
        self.wanted = addresses.clone();
        Ok(())
    }

    /// Returns the addresses of the last [`announce`](Self::announce) that are no longer local:
    /// somebody removed our route, or whatever made it needless is gone.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn lost_addresses(&self) -> Result<Vec<IpAddr>, HostError> {
        let local = self.netlink.local_destinations().await?;
        Ok(self.wanted.difference(&local).copied().collect())
    }

    /// Makes a lost address local again. Returns whether our route made it local before.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel refuses; another route of the local table is in the way.
    pub async fn restore_address(&mut self, address: IpAddr) -> Result<bool, HostError> {
        match self.netlink.announce(address, self.loopback).await? {
            true => Ok(!self.announced.insert(address)),
            false => Err(HostError::Shadowed { address }),
        }
    }
}

impl Netlink {
    /// Adds the route. Returns whether it is ours.
    async fn announce(&self, address: IpAddr, loopback: u32) -> Result<bool, HostError> {
        let mut route = local_route(address);
        route.attributes.push(RouteAttribute::Oif(loopback));
        match self.handle.route().add(route).execute().await {
            Ok(()) => {
                debug!(%address, "made local");
                Ok(true)
            }
            Err(error) if errno(&error) == Some(libc::EEXIST) => {
                debug!(%address, "already local by a route that is not ours");
                Ok(false)
            }
            Err(error) => {
                Err(HostError::netlink(format!("add the local route of {address}"), &error))
            }
        }
    }

    async fn withdraw(&self, address: IpAddr) -> Result<(), HostError> {
        self.remove_route(local_route(address), &address.to_string()).await
    }

    /// Returns the addresses that a route with our mark makes local, whoever left it.
    pub(crate) async fn marked_addresses(&self) -> Result<BTreeSet<IpAddr>, HostError> {
        let mut addresses = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let routes = self.local_routes(family, protocol()).await?;
            let ours = routes.iter().filter(|route| route.header.protocol == protocol());
            addresses.extend(ours.filter_map(destination));
        }
        Ok(addresses)
    }

    /// Returns the single addresses that any route makes local.
    async fn local_destinations(&self) -> Result<BTreeSet<IpAddr>, HostError> {
        let mut addresses = BTreeSet::new();
        for (family, bits) in [(AddressFamily::Inet, 32), (AddressFamily::Inet6, 128)] {
            let routes = self.local_routes(family, RouteProtocol::Unspec).await?;
            let single = routes.iter().filter(|route| {
                route.header.kind == RouteType::Local
                    && route.header.destination_prefix_length == bits
            });
            addresses.extend(single.filter_map(destination));
        }
        Ok(addresses)
    }

    async fn local_routes(
        &self,
        family: AddressFamily,
        protocol: RouteProtocol,
    ) -> Result<Vec<RouteMessage>, HostError> {
        let filter = RouteHeader {
            address_family: family,
            table: LOCAL_TABLE,
            protocol,
            kind: RouteType::Local,
            ..RouteHeader::default()
        };
        match self.routes(route(filter, Vec::new())).await {
            // The table is created with its first route. EAFNOSUPPORT: no IPv6 here.
            Err(error) if matches!(errno(&error), Some(libc::ENOENT | libc::EAFNOSUPPORT)) => {
                Ok(Vec::new())
            }
            // The kernel filters only by some attributes.
            Ok(mut routes) => {
                routes.retain(|route| route.header.table == LOCAL_TABLE);
                Ok(routes)
            }
            Err(error) => Err(HostError::netlink("list the local routes", &error)),
        }
    }

    async fn remove_route(&self, route: RouteMessage, name: &str) -> Result<(), HostError> {
        match self.handle.route().del(route).execute().await {
            Err(error) if !is_gone(&error) => {
                Err(HostError::netlink(format!("remove the local route of {name}"), &error))
            }
            _ => Ok(()),
        }
    }
}

fn destination(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

/// Returns whether the route is already gone, which is what we want.
fn is_gone(error: &Error) -> bool {
    matches!(errno(error), Some(libc::ESRCH | libc::ENOENT))
}

fn local_route(address: IpAddr) -> RouteMessage {
    let (family, bits) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let header = RouteHeader {
        address_family: family,
        destination_prefix_length: bits,
        table: LOCAL_TABLE,
        protocol: protocol(),
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    route(header, vec![RouteAttribute::Destination(address.into())])
}
