//! Reconstructs the assignment of ids from the tables alone, if the notes about it are lost.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use lb_common::abi::{self, Address, RangeKey, Vip, VipKey, path};

use super::assigned::IdAssignment;
use crate::control::{actual::ActualTables, family::AddressFamily, ports::prefixes};
use crate::{
    service::{Forwarding, Path, Port, Service},
    tables::{Command, regions},
};

/// Returns what `tables` reveal about `services`: a service is recognised by its VIPs, its servers
/// by their addresses in its ring. `contents` are the commands that `tables` were made from.
///
/// Servers in no ring (down, draining, not configured any more) are not recognised.
#[must_use]
pub fn recognise(
    services: &[Arc<Service>],
    tables: &ActualTables,
    contents: &[Command],
) -> IdAssignment {
    let written = contents.iter().filter_map(|command| match command {
        Command::WriteRing { offset, words, .. } => Some((*offset, &words[..])),
        _ => None,
    });
    let written: HashMap<u32, &[u32]> = written.collect();
    let mut assigned = IdAssignment::default();
    for service in services.iter().filter(|service| service.is_steered()) {
        for family in AddressFamily::ALL {
            let Some(id) = place(service, family, tables) else { continue };
            assigned.services.push((service.name.to_string(), family, id));
            let ring = tables.current.get(&id);
            let words = ring.and_then(|ring| Some((*written.get(&ring.offset())?, ring.length())));
            let (words, length) = words.unwrap_or_default();
            for &member in regions(words, length).flat_map(|region| region.members) {
                let Some(entry) = tables.backends.get(&member) else { continue };
                if let Some(server) = server(service, entry) {
                    assigned.backends.push((service.name.to_string(), server, member));
                    assigned.loads.push((server, entry.load));
                }
            }
        }
    }
    assigned
}

/// Returns the index into SERVICES at the first address and steered port of a family.
fn place(service: &Service, family: AddressFamily, tables: &ActualTables) -> Option<u32> {
    let address = service.addresses.iter().copied().find(|&it| AddressFamily::of(it) == family)?;
    let port = service.ports.iter().find(|port| port.path() == Path::Steer)?;
    let vip = vip(Address::of(address), service.protocol.number().into(), port, tables)?;
    (vip.path == path::STEER).then_some(vip.service)
}

fn vip(address: Address, protocol: u32, port: &Port, tables: &ActualTables) -> Option<Vip> {
    if port.port == port.end_port {
        let key = VipKey::new(address, port.port.get().to_be_bytes(), protocol);
        return tables.vips.get(&key).copied();
    }
    let (first, bits) = prefixes(port.numbers()).next()?;
    let key = RangeKey::prefix(address, protocol, first.to_be_bytes(), bits);
    tables.ranges.get(&key).copied()
}

/// Returns the server of `service` behind an entry. A tunnel's entry does not have the server's own
/// port.
fn server(service: &Service, entry: &abi::Backend) -> Option<SocketAddr> {
    let is_gue = service.steering.forwarding == Forwarding::Gue;
    let servers = service.pool.servers.iter().map(|server| server.address);
    let mut meant = servers.filter(|server| {
        let same_port = server.port().to_be_bytes() == entry.port;
        Address::of(server.ip()) == entry.address && (is_gue || same_port)
    });
    let server = meant.next();
    server.filter(|_| meant.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        StableIds,
        fixture::{self, ENCAP, RINGS, TestWorld, port, range, service},
    };

    #[test]
    fn everybody_in_a_ring_is_recognised() {
        let ranged = service("a", &["192.0.2.1"], vec![range(80, 90)], &["10.0.0.1:0"]);
        let mut tunnel = service("b", &["2001:db8::1"], vec![port(53, &[])], &["10.0.0.1:53"]);
        tunnel.steering.forwarding = Forwarding::Gue;
        assert_ne!(tunnel.pool.servers[0].address.port(), ENCAP.gue_port);
        let servers = ["10.0.0.1:70", "10.0.0.2:70", "10.0.0.3:70"];
        let mut several = service("c", &["192.0.2.1"], vec![port(70, &[])], &servers);
        several.pool.servers[1].weight = 0;
        several.pool.servers[2].region = Some("far".into());
        several.steering.limits.hard = Some(9);
        let mut world = TestWorld::of(vec![ranged, tunnel, several]);
        world.geography.local = Some("here".into());
        let contents = world.follow();
        let tables = ActualTables::holding(RINGS, &contents);
        let services = world.fleet.services.iter().map(|running| running.service.clone());
        let services: Vec<_> = services.collect();
        let told = recognise(&services, &tables, &contents);
        let ids = StableIds::recover(fixture::CAPACITY, &tables, &told, |_| false);
        let mut wanted = world.ids.assigned();
        // The server that is in no ring.
        let idle: SocketAddr = servers[1].parse().unwrap();
        let idle = wanted.backends.iter_mut().find(|entry| entry.1 == idle).unwrap();
        idle.0.clear();
        assert_eq!(ids.assigned(), wanted);
    }
}
