//! Routes of health checks, where clients' packets do not go to a server's own address.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::time::sleep;

use crate::{
    health::{Encapsulation, RouteFinder, TunnelRoute},
    host::{HostError, HostReader},
    service::{Forwarding, Service},
    settings::Encap,
};

/// Between looks for a link-layer address that is being resolved.
const LOOK: Duration = Duration::from_millis(50);

/// Finds those routes, as the configuration is now.
pub(crate) struct CheckRoutes {
    settings: Arc<ArcSwap<RouteSettings>>,
    finder: RouteFinder,
}

struct RouteSettings {
    encap: Encap,
    announced: Vec<IpAddr>,
}

impl RouteSettings {
    fn new(encap: Encap, services: &[Arc<Service>]) -> Self {
        let announced = services.iter().flat_map(|service| service.addresses.iter().copied());
        Self { encap, announced: announced.collect() }
    }
}

impl CheckRoutes {
    /// # Errors
    ///
    /// No netlink socket.
    pub(crate) fn new(encap: Encap, services: &[Arc<Service>]) -> Result<Self, HostError> {
        let here = Arc::new(HostReader::open()?);
        let settings = Arc::new(ArcSwap::from_pointee(RouteSettings::new(encap, services)));
        let current = settings.clone();
        let finder: RouteFinder = Arc::new(move |server, vip, forwarding| {
            let (here, settings) = (here.clone(), current.load_full());
            Box::pin(async move {
                let RouteSettings { encap, announced } = &*settings;
                let found = find(&here, encap, announced, (server, vip, forwarding)).await;
                found.map_err(|error| match error {
                    HostError::NoRoute { .. } => io::Error::from_raw_os_error(libc::ENETUNREACH),
                    other => io::Error::other(other),
                })
            })
        });
        Ok(Self { settings, finder })
    }

    /// Goes by another configuration from now on.
    pub(crate) fn configure(&self, encap: Encap, services: &[Arc<Service>]) {
        self.settings.store(Arc::new(RouteSettings::new(encap, services)));
    }

    /// Returns a function that asks the host anew for each check.
    pub(crate) fn finder(&self) -> RouteFinder {
        self.finder.clone()
    }
}

async fn find(
    here: &HostReader,
    encap: &Encap,
    announced: &[IpAddr],
    (server, vip, forwarding): (IpAddr, IpAddr, Forwarding),
) -> Result<Option<TunnelRoute>, HostError> {
    let way = here.route_to(server).await?;
    let source = if vip.is_ipv4() == server.is_ipv4() {
        Some(way.source)
    } else {
        // An address on the same interface, or the server may answer over another one.
        let mut local = here.local_addresses().await?.into_iter();
        let found = local.find(|local| {
            let address = local.address;
            local.is_source
                && local.interface == way.interface
                && address.is_ipv4() == vip.is_ipv4()
                && !is_link_local(address)
                && !announced.contains(&address)
        });
        found.map(|local| local.address)
    };
    let Some(source) = source else { return Ok(None) };
    let wrap = match forwarding {
        Forwarding::Nat => return Ok(None),
        Forwarding::L2 if way.next_hop != server => return Err(HostError::NoRoute { to: server }),
        Forwarding::L2 => {
            let interface = way.interface;
            // The reconciler keeps its next hop resolved. The check's own timeout ends this wait.
            let address = loop {
                match here.link_address(interface, server).await? {
                    Some(address) => break address,
                    None => sleep(LOOK).await,
                }
            };
            Encapsulation::Frame { interface, address }
        }
        Forwarding::Ipip => {
            let sources = if server.is_ipv4() { encap.source_v4 } else { encap.source_v6 };
            Encapsulation::Ip { source: one_of(sources) }
        }
        Forwarding::Gue => Encapsulation::Udp { port: encap.gue_port },
    };
    Ok(Some(TunnelRoute { source, wrap }))
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Returns the second address of a network that has more than one: the first one names the network.
fn one_of(network: IpNet) -> IpAddr {
    let more = u8::from(network.prefix_len() < network.max_prefix_len());
    match network.network() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() | u32::from(more)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() | u128::from(more)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_source_is_within_what_backends_let_in() {
        for (network, expected) in [
            ("172.16.0.0/16", "172.16.0.1"),
            ("10.0.0.9/32", "10.0.0.9"),
            ("100::/64", "100::1"),
            ("fd00::7/128", "fd00::7"),
        ] {
            assert_eq!(one_of(network.parse().unwrap()).to_string(), expected);
        }
    }
}
