//! Services whose backends have limits, fall, or are kept.

use super::addresses::{
    BACKEND_PORT, BACKENDS, SOURCES, VIPS, VLAN, VLAN_BACKENDS, VLAN_SOURCES, hop, ip, vip_key,
};
use crate::{
    abi::{Address, Backend, Prefixes, Reach, Ring, Service, Vip, path, service_flags, strategy},
    testing::{count::Count, model::Model},
};

/// Steered, TCP and UDP, to a backend that takes one flow.
pub const FULL_PORT: u16 = 284;
/// Steered, TCP, to a backend that is preferred for one flow, and one behind [`VLAN`].
pub const SOFT_PORT: u16 = 285;
/// The same, for the backend with least load. Both have a soft limit of one and a hard one of two.
pub const LEAST_PORT: u16 = 286;
/// Steered, TCP and UDP: to the first of two backends, which falls. TCP is reset.
pub const RESET_PORT: u16 = 287;
/// The same; TCP moves.
pub const MOVE_PORT: u16 = 288;
/// Steered, TCP, to two backends by hash; but sources keep theirs.
pub const KEPT_PORT: u16 = 289;
/// Steered, TCP, to the less burdened of two slots, both one backend's: a tag, put on by
/// every round of a bench, would use the headroom up.
pub const P2C_PORT: u16 = 290;
/// Steered, TCP, to a backend whose limits are never reached.
pub const LIMITED_PORT: u16 = 291;
/// Steered, TCP, to a backend with a soft limit of one and a hard one of two; behind its ring
/// stands that of the next region, with one that takes one.
pub const REGIONS_PORT: u16 = 292;

const ANY: u32 = u32::MAX;

struct Shape {
    port: u16,
    service: Service,
    /// Soft and hard limit of a backend next to us, and of one behind the VLAN.
    limits: &'static [[u32; 2]],
    /// Members that the ring has a slot for.
    slots: &'static [u32],
    /// How many members are near: the others have a ring of their own.
    near: usize,
}

fn shapes() -> [Shape; 9] {
    let limited = Service { flags: service_flags::LIMITED, ..Service::default() };
    let least = Service { strategy: strategy::LEAST_CONN, ..limited };
    let p2c = Service { strategy: strategy::P2C, ..Service::default() };
    let moving = Service { flags: service_flags::MOVE, ..Service::default() };
    let kept = Service {
        affinity: 3_600_000_000_000,
        affinity_prefix: Prefixes { v4: 24, v6: 64, pad: 0 },
        ..Service::default()
    };
    let shape = |port, service, limits: &'static [_], slots| {
        let near = limits.len();
        Shape { port, service, limits, slots, near }
    };
    [
        shape(FULL_PORT, limited, &[[ANY, 1]], &[0]),
        shape(SOFT_PORT, limited, &[[1, ANY], [ANY, ANY]], &[0]),
        shape(LEAST_PORT, least, &[[1, 2], [1, 2]], &[0, 1]),
        shape(RESET_PORT, Service::default(), &[[ANY, ANY], [ANY, ANY]], &[0]),
        shape(MOVE_PORT, moving, &[[ANY, ANY], [ANY, ANY]], &[0]),
        shape(P2C_PORT, p2c, &[[ANY, ANY]], &[0]),
        shape(LIMITED_PORT, limited, &[[1 << 30, 1 << 30]], &[0]),
        shape(KEPT_PORT, kept, &[[ANY, ANY], [ANY, ANY]], &[0, 1]),
        Shape { near: 1, ..shape(REGIONS_PORT, limited, &[[1, 2], [ANY, 1]], &[0]) },
    ]
}

/// The services of both families. What is behind the VLAN counts in a slot of its own.
pub(crate) fn add(model: &mut Model, now: u64) {
    for family in 0..VIPS.len() {
        for shape in shapes() {
            add_one(model, family, &shape, now);
        }
    }
    for _ in VIPS {
        model.load.push(Count::default());
        model.ports.push(Count::default());
    }
}

fn add_one(model: &mut Model, family: usize, shape: &Shape, now: u64) {
    let service = model.services.len() as u32;
    let first = model.backends.len() as u32;
    let ends = [(BACKENDS, SOURCES, 0), (VLAN_BACKENDS, VLAN_SOURCES, VLAN)];
    for (member, [soft_limit, hard_limit]) in shape.limits.iter().copied().enumerate() {
        let (addresses, sources, vlan) = ends[member];
        model.backends.push(Backend {
            address: Address::of(ip(addresses[family])),
            source: Address::of(ip(sources[family])),
            port: BACKEND_PORT.to_be_bytes(),
            load: (member * VIPS.len() + family) as u32,
            weight: 1,
            soft_limit,
            hard_limit,
            ..Backend::default()
        });
        model.reach.push(Reach { hop: hop(vlan), at: now, ..Reach::default() }.into());
        model.opened.push(Count::default());
    }
    model.current_rings.push(Ring::new(model.rings.len() as u32, shape.slots.len() as u32));
    model.rings.extend(shape.slots.iter().map(|slot| first + slot));
    let (near, all) = (first + shape.near as u32, first + shape.limits.len() as u32);
    model.rings.push(near - first);
    model.rings.extend(first..near);
    if near < all {
        // A slot for each, and each a member.
        let count = all - near;
        model.rings.push(count);
        model.rings.extend((near..all).chain([count]).chain(near..all));
    }
    model.rings.push(0);
    model.services.push(shape.service);
    for protocol in [6, 17] {
        let vip = Vip { service, path: path::STEER };
        model.vips.insert(vip_key(VIPS[family], shape.port, protocol), vip);
    }
}
