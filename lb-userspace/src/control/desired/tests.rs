use std::{num::NonZeroU16, sync::Arc};

use super::*;
use crate::{
    load::LoadSlot,
    service::{
        Concurrency, ConcurrencyKind, Forwarding, Handler, Pool, Port, Protocol, Server, Service,
        Strategy,
    },
    tables::Capacity,
};

fn port(port: u16, handlers: &[Handler]) -> Port {
    Port {
        port: NonZeroU16::new(port).unwrap(),
        handlers: handlers.to_vec(),
        tls: None,
        force_https: false,
    }
}

fn service(name: &str, addresses: &[&str], ports: Vec<Port>, servers: &[&str]) -> RunningService {
    let server = |address: &&str| Server {
        address: address.parse().unwrap(),
        weight: 1,
        region: None,
        instance: None,
    };
    let servers: Vec<Server> = servers.iter().map(server).collect();
    let backend = |(slot, server): (usize, &Server)| {
        Arc::new(Backend::new(server.clone(), LoadSlot(slot as u32)))
    };
    RunningService {
        backends: servers.iter().enumerate().map(backend).collect(),
        service: Arc::new(Service {
            name: name.into(),
            protocol: Protocol::Tcp,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            hostnames: Vec::new(),
            ports,
            forwarding: Forwarding::Nat,
            concurrency: Concurrency {
                kind: ConcurrencyKind::Connections,
                soft_limit: 20,
                hard_limit: None,
            },
            pool: Pool { strategy: Strategy::Maglev, servers, health_check: None },
        }),
        requests: 0.into(),
        failed: 0.into(),
    }
}

fn sources() -> HashMap<IpAddr, IpAddr> {
    [("10.0.0.1", "10.0.0.254"), ("10.0.0.2", "10.0.0.254"), ("fd00::1", "fd00::fe")]
        .map(|(to, from)| (to.parse().unwrap(), from.parse().unwrap()))
        .into()
}

fn slots() -> Slots {
    Slots::new(Capacity { services: 8, backends: 8, loads: 8, rings: 0 })
}

fn key(address: &str, port: u16) -> VipKey {
    VipKey::new(Address::of(address.parse().unwrap()), port.to_be_bytes(), 6)
}

fn fleet(services: Vec<RunningService>) -> Fleet {
    Fleet { services: services.into_iter().map(Arc::new).collect() }
}

const DUAL: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
const SERVERS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"];

#[test]
fn each_family_has_a_ring_of_its_own_servers() {
    let fleet = fleet(vec![service("raw", &DUAL, vec![port(5432, &[])], &SERVERS)]);
    let desired = desire(&fleet, &sources(), &mut slots()).unwrap();
    let steer = |service| Vip { service, path: path::STEER };
    assert_eq!(desired.vips[&key(DUAL[0], 5432)], steer(0));
    assert_eq!(desired.vips[&key(DUAL[1], 5432)], steer(1));
    let members = |service: u32| BTreeSet::from_iter(desired.services[&service].clone());
    assert_eq!(members(0), [0, 1].into());
    assert_eq!(members(1), [2].into());
    assert_eq!(
        desired.backends[&2],
        abi::Backend {
            address: Address::of("fd00::1".parse().unwrap()),
            source: Address::of("fd00::fe".parse().unwrap()),
            port: [0, 80],
            load: 2,
            weight: 1,
            soft_limit: u32::MAX,
            hard_limit: u32::MAX,
            ..abi::Backend::default()
        }
    );
    assert_eq!(desired.addresses.len(), 2);
}

#[test]
fn proxied_ports_need_no_ring() {
    let web = vec![port(443, &[Handler::Tls]), port(80, &[Handler::Http])];
    let fleet = fleet(vec![service("web", &DUAL[..1], web, &SERVERS)]);
    let desired = desire(&fleet, &HashMap::new(), &mut slots()).unwrap();
    let proxied = Vip { service: 0, path: path::PROXY };
    assert_eq!(desired.vips, [(key(DUAL[0], 80), proxied), (key(DUAL[0], 443), proxied)].into());
    assert!(desired.services.is_empty() && desired.backends.is_empty());
    assert!(desired.unroutable.is_empty());
}

#[test]
fn who_is_down_or_unroutable_is_in_no_ring() {
    let fleet = fleet(vec![service("raw", &DUAL, vec![port(1, &[])], &SERVERS)]);
    fleet.services[0].backends[0].set_up(false);
    let mut sources = sources();
    sources.remove(&"fd00::1".parse().unwrap());
    let desired = desire(&fleet, &sources, &mut slots()).unwrap();
    assert!(desired.services[&0].iter().all(|&backend| backend == 1));
    assert!(desired.services[&1].is_empty());
    assert_eq!(desired.unroutable, [SERVERS[2].parse().unwrap()].into());
    assert!(desired.backends.contains_key(&0), "down, but may be back");
}

#[test]
fn ids_outlive_a_change_of_order() {
    let raw = || service("raw", &DUAL, vec![port(1, &[])], &SERVERS);
    let dns = || service("dns", &["203.0.113.53"], vec![port(53, &[])], &SERVERS[..2]);
    let mut slots = slots();
    let before = desire(&fleet(vec![raw(), dns()]), &sources(), &mut slots).unwrap();
    let after = desire(&fleet(vec![dns(), raw()]), &sources(), &mut slots).unwrap();
    assert_eq!(before.vips, after.vips);
    assert_eq!(before.services, after.services);
}

#[test]
fn too_many_backends_is_an_error() {
    let servers: Vec<String> = (1..=9).map(|n| format!("10.0.0.{n}:80")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let fleet = fleet(vec![service("raw", &DUAL, vec![port(1, &[])], &servers)]);
    assert!(matches!(desire(&fleet, &sources(), &mut slots()), Err(Error::Full { room: 8, .. })));
}

#[test]
fn needs_cover_what_is_desired() {
    let web = vec![port(80, &[Handler::Http])];
    let running = vec![
        service("raw", &DUAL, vec![port(1, &[])], &SERVERS),
        service("web", &["203.0.113.7"], web, &SERVERS),
    ];
    let services: Vec<_> = running.iter().map(|running| running.service.clone()).collect();
    let desired = desire(&fleet(running), &sources(), &mut slots()).unwrap();
    let needs = crate::control::needs(&services);
    let rings: usize = desired.services.values().map(Vec::len).sum();
    // Members and their number, once for each family.
    let rings = rings + (1 + 2) + (1 + 1);
    assert_eq!((needs.services, needs.backends, needs.loads, needs.rings), (2, 3, 3, rings as u32));
}
