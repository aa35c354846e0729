//! The services and backends that the table's frames meet.

pub mod limits;

use std::net::{IpAddr, SocketAddr};

use super::{
    frames::{CLIENT_MAC, OUR_MAC},
    model::{Count, Model},
    modes,
};
use crate::abi::{
    Address, Backend, Hop, QuicKey, RangeKey, Reach, Ring, SERVICE_TAG, ServerId, Service, Vip,
    VipKey, address_flags, path, status,
};

/// One announced address per family; ports by what stands behind them.
pub const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
/// Others, which nobody is to find by asking on a link. Nothing stands behind them.
pub const SILENT_VIPS: [&str; 2] = ["203.0.113.66", "2001:db8::66"];
/// Steered, TCP.
pub const TCP_PORT: u16 = 80;
/// Steered, UDP.
pub const UDP_PORT: u16 = 53;
/// With handlers.
pub const PROXY_PORT: u16 = 443;
/// Steered, without a backend.
pub const EMPTY_PORT: u16 = 81;
/// Steered, to a backend behind VLAN 100.
pub const VLAN_PORT: u16 = 82;
/// Steered, to a backend behind two tags, [`DOUBLE`].
pub const DOUBLE_PORT: u16 = 84;
/// Steered, to a backend on the port that was asked; but for one port with handlers and one of
/// [`TCP_PORT`]'s service, which have entries of their own.
pub const RANGE: std::ops::RangeInclusive<u16> = 3000..=3999;
/// Its prefixes.
pub const RANGE_PREFIXES: [(u16, u32); 6] =
    [(3000, 13), (3008, 10), (3072, 7), (3584, 8), (3840, 9), (3968, 11)];
pub const PROXY_IN_RANGE: u16 = 3443;
pub const TCP_IN_RANGE: u16 = 3080;
/// With handlers.
pub const PROXY_RANGE: std::ops::RangeInclusive<u16> = 4000..=4003;
/// Steered, UDP, QUIC: new connections to the first backend of [`BACKENDS`], those with the id
/// [`QUIC_SERVER`] to [`QUIC_BACKEND_PORT`] there, those with [`QUIC_GONE`] to one that is gone.
pub const QUIC_PORT: u16 = 4433;
pub const QUIC_BACKEND_PORT: u16 = 4434;
pub const QUIC_SERVER: [u8; 3] = [0xab, 0, 0xcd];
pub const QUIC_GONE: [u8; 3] = [0xab, 0, 0xce];
/// Steered, TCP, from [`SOURCES`] and [`SECOND_SOURCES`] in turn.
pub const POOL_PORT: u16 = 85;
/// Steered, to a backend that routing does not reach.
pub const UNREACHABLE_PORT: u16 = 83;

pub const CLIENTS: [&str; 2] = ["198.51.100.7", "2001:db8:c::7"];
/// A client that reaches us, and is reached, by VLAN [`CLIENT_VLAN`].
pub const TAGGED_CLIENTS: [&str; 2] = ["198.51.101.7", "2001:db8:d::7"];
pub const CLIENT_VLAN: u16 = 30;
pub const SOURCES: [&str; 2] = ["10.2.0.1", "fd00:2::1"];
pub const SECOND_SOURCES: [&str; 2] = ["10.2.0.2", "fd00:2::2"];
pub const BACKENDS: [&str; 2] = ["10.2.0.11", "fd00:2::11"];
/// Reached by VLAN [`VLAN`] of the backends' side, from these addresses of ours.
pub const VLAN_BACKENDS: [&str; 2] = ["10.3.0.11", "fd00:3::11"];
pub const VLAN_SOURCES: [&str; 2] = ["10.3.0.1", "fd00:3::1"];
/// Reached by [`DOUBLE`] of the backends' side, from these addresses of ours.
pub const DOUBLE_BACKENDS: [&str; 2] = ["10.4.0.11", "fd00:4::11"];
pub const DOUBLE_SOURCES: [&str; 2] = ["10.4.0.1", "fd00:4::1"];
/// 802.1ad, then 802.1Q.
pub const DOUBLE: [u16; 2] = [SERVICE_TAG | 200, 201];
/// A client that reaches us, and is reached, by [`CLIENT_DOUBLE`].
pub const DOUBLE_CLIENTS: [&str; 2] = ["198.51.102.7", "2001:db8:e::7"];
/// 802.1Q twice.
pub const CLIENT_DOUBLE: [u16; 2] = [40, 41];
/// Routing knows no way there.
pub const LOST_BACKENDS: [&str; 2] = ["10.9.0.11", "fd00:9::11"];
pub const BACKEND_PORT: u16 = 8080;
/// A host that is none of ours, in both families.
pub const STRANGERS: [&str; 2] = ["192.0.2.99", "2001:db8:99::99"];

pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 2, 11];
pub const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// Where backends are, by interface index.
pub const BACKEND_SIDE: u32 = 7;
pub const VLAN: u16 = 100;

/// The first port that steered flows get.
pub const FIRST_SOURCE_PORT: u16 = 2048;

#[must_use]
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[must_use]
pub fn socket(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

pub(super) fn vip_key(vip: &str, port: u16, protocol: u32) -> VipKey {
    VipKey::new(Address::of(ip(vip)), port.to_be_bytes(), protocol)
}

/// The tables, ready for the first packet. `hops` are as if routing had been asked at `now`.
#[must_use]
pub fn model(now: u64) -> Model {
    model_of(128, now)
}

/// The same with so many buckets, a power of two, in each part of the flow table.
#[must_use]
pub fn model_of(buckets: u32, now: u64) -> Model {
    filled(Model::with_buckets(buckets), now)
}

/// The same in a model that has nothing in it yet.
#[must_use]
pub fn filled(mut model: Model, now: u64) -> Model {
    model.now.set(now);
    for (family, vip) in VIPS.into_iter().enumerate() {
        model.addresses.insert(Address::of(ip(vip)), 0);
        let silent = Address::of(ip(SILENT_VIPS[family]));
        model.addresses.insert(silent, address_flags::SILENT);
        let service = model.services.len() as u32;
        let backend = model.backends.len() as u32;
        let members = [
            (BACKENDS, SOURCES, 0, now),
            (VLAN_BACKENDS, VLAN_SOURCES, VLAN, now),
            (LOST_BACKENDS, SOURCES, 0, 0),
        ];
        for (slot, (addresses, sources, vlan, at)) in (0..).zip(members) {
            model.rings.push(backend + slot);
            model.backends.push(Backend {
                address: Address::of(ip(addresses[family])),
                source: Address::of(ip(sources[family])),
                port: BACKEND_PORT.to_be_bytes(),
                load: family as u32,
                weight: 1,
                soft_limit: u32::MAX,
                hard_limit: u32::MAX,
                ..Backend::default()
            });
            model.reach.push(Reach { hop: hop(vlan), at, ..Reach::default() }.into());
            model.services.push(Service::default());
            model.current_rings.push(Ring::new(backend + slot, 1));
            model.opened.push(Count::default());
        }
        model.services.push(Service::default());
        model.current_rings.push(Ring::new(0, 0));
        model.load.push(Count::default());
        model.ports.push(Count::default());
        let steered = [
            (TCP_PORT, 6, 0),
            (UDP_PORT, 17, 0),
            (VLAN_PORT, 6, 1),
            (UNREACHABLE_PORT, 6, 2),
            (EMPTY_PORT, 6, 3),
        ];
        for (port, protocol, offset) in steered {
            let vip_of = Vip { service: service + offset, path: path::STEER };
            model.vips.insert(vip_key(vip, port, protocol), vip_of);
        }
        let first = service;
        let double = (DOUBLE_BACKENDS[family], DOUBLE_SOURCES[family]);
        let [vlan, inner_vlan] = DOUBLE;
        let mut way = hop(vlan);
        way.inner_vlan = inner_vlan;
        let service = add_service(&mut model, family, double, way);
        steer(&mut model, vip, DOUBLE_PORT, 6, service);
        let near = (BACKENDS[family], SOURCES[family]);
        let ranged = add_service(&mut model, family, near, hop(0));
        model.backends.last_mut().expect("the one just added").port = [0, 0];
        steer(&mut model, vip, TCP_IN_RANGE, 6, first);
        let key = |(port, bits): (u16, u32)| {
            RangeKey::prefix(Address::of(ip(vip)), 6, port.to_be_bytes(), bits)
        };
        let ranged = Vip { service: ranged, path: path::STEER };
        model.ranges.extend(RANGE_PREFIXES.map(|prefix| (key(prefix), ranged)));
        add_quic(&mut model, family, vip);
        let pooled = add_service(&mut model, family, near, hop(0));
        steer(&mut model, vip, POOL_PORT, 6, pooled);
        let pooled = model.backends.last_mut().expect("the one just added");
        (pooled.pool, pooled.sources) = (model.source_pool.len() as u32, 2);
        let sources = [SOURCES, SECOND_SOURCES].map(|sources| Address::of(ip(sources[family])));
        model.source_pool.extend(sources);
        let proxied = Vip { service: 0, path: path::PROXY };
        model.ranges.insert(key((*PROXY_RANGE.start(), 14)), proxied);
        model.vips.insert(vip_key(vip, PROXY_IN_RANGE, 6), proxied);
        let proxied = Vip { service: 0, path: path::PROXY };
        model.vips.insert(vip_key(vip, PROXY_PORT, 6), proxied);
        super::guarded::add(&mut model, family, backend);
    }
    for family in 0..VIPS.len() {
        modes::add(&mut model, family, now);
    }
    limits::add(&mut model, now);
    model
}

/// Another service, with a backend of its own.
fn add_service(model: &mut Model, family: usize, ends: (&str, &str), hop: Hop) -> u32 {
    let (slot, now) = (model.rings.len() as u32, model.now.get());
    model.rings.push(model.backends.len() as u32);
    model.backends.push(Backend {
        address: Address::of(ip(ends.0)),
        source: Address::of(ip(ends.1)),
        port: BACKEND_PORT.to_be_bytes(),
        load: family as u32,
        weight: 1,
        soft_limit: u32::MAX,
        hard_limit: u32::MAX,
        ..Backend::default()
    });
    model.reach.push(Reach { hop, at: now, ..Reach::default() }.into());
    model.opened.push(Count::default());
    model.services.push(Service::default());
    model.current_rings.push(Ring::new(slot, 1));
    model.services.len() as u32 - 1
}

fn add_quic(model: &mut Model, family: usize, vip: &str) {
    let ends = (BACKENDS[family], SOURCES[family]);
    let add = |model: &mut Model| {
        let service = add_service(model, family, ends, hop(0));
        (service, model.backends.len() as u32 - 1)
    };
    let (service, _) = add(model);
    let (_, named) = add(model);
    let (_, gone) = add(model);
    model.services[service as usize].server_id_length = QUIC_SERVER.len() as u32;
    model.backends[named as usize].port = QUIC_BACKEND_PORT.to_be_bytes();
    model.reach[gone as usize].get_mut().status = status::GONE;
    for (id, backend) in [(QUIC_SERVER, named), (QUIC_GONE, gone)] {
        let id = ServerId::of(&id).expect("not too long");
        model.quic_ids.insert(QuicKey { service, pad: 0, id }, backend);
    }
    steer(model, vip, QUIC_PORT, 17, service);
}

fn steer(model: &mut Model, vip: &str, port: u16, protocol: u32, service: u32) {
    model.vips.insert(vip_key(vip, port, protocol), Vip { service, path: path::STEER });
}

/// Back the way that clients' frames come.
#[must_use]
pub fn hop_to_client() -> Hop {
    Hop::new(CLIENT_MAC, OUR_MAC, 1, 0)
}

/// Towards the backends.
#[must_use]
pub fn hop(vlan: u16) -> Hop {
    Hop::new(BACKEND_MAC, SOURCE_MAC, BACKEND_SIDE, vlan)
}
