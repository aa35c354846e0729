//! Looks up how the host's routing reaches a backend: by which interface and next hop, and with
//! which source address.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia},
};

use super::connection::{Netlink, route};
use crate::host::error::{HostError, errno};

/// The result of `ip route get`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRoute {
    /// Index of the interface.
    pub interface: u32,
    /// The gateway, or the destination itself on a directly connected network. An IPv4 destination
    /// may have an IPv6 gateway (RFC 5549).
    pub next_hop: IpAddr,
    /// The source address of packets that do not bring their own.
    pub source: IpAddr,
}

impl Netlink {
    pub(crate) async fn route_to(&self, to: IpAddr) -> Result<SourceRoute, HostError> {
        let routes = self.routes(query(to)).await.map_err(|error| match errno(&error) {
            // No route, a blackhole, an unreachable or a prohibited one.
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES) => {
                HostError::NoRoute { to }
            }
            _ => HostError::netlink(format!("ask for the route to {to}"), &error),
        })?;
        let route = routes.first().ok_or(HostError::NoRoute { to })?;
        match route.header.kind {
            RouteType::Unicast => read(route, to).ok_or(HostError::NoRoute { to }),
            RouteType::Local | RouteType::Anycast => Err(HostError::Local { to }),
            _ => Err(HostError::NoRoute { to }),
        }
    }
}

fn query(to: IpAddr) -> RouteMessage {
    let (family, bits) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let header = RouteHeader {
        address_family: family,
        destination_prefix_length: bits,
        ..RouteHeader::default()
    };
    route(header, vec![RouteAttribute::Destination(to.into())])
}

fn read(route: &RouteMessage, to: IpAddr) -> Option<SourceRoute> {
    let (mut interface, mut next_hop, mut source) = (None, to, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(gateway) => next_hop = address(gateway)?,
            RouteAttribute::Via(RouteVia::Inet(v4)) => next_hop = IpAddr::V4(*v4),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => next_hop = IpAddr::V6(*v6),
            RouteAttribute::PrefSource(ours) => source = address(ours),
            _ => {}
        }
    }
    Some(SourceRoute { interface: interface?, next_hop, source: source? })
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
