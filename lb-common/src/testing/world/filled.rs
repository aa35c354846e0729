//! The tables, filled with the services and backends that the table's frames meet.

use super::{addresses::*, guarded, limits, modes};
use crate::{
    abi::{
        Address, Backend, Hop, QuicKey, RangeKey, Reach, Ring, ServerId, Service, Vip,
        address_flags, path, status,
    },
    testing::{count::Count, model::Model},
};

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
        guarded::add(&mut model, family, backend);
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
