//! The services and backends that the table's frames meet.

use std::net::{IpAddr, SocketAddr};

use super::model::Model;
use crate::abi::{Address, Backend, Hop, Reach, Ring, Service, Vip, VipKey, path};

/// One announced address per family; ports by what stands behind them.
pub const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
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
/// Steered, to a backend that routing does not reach.
pub const UNREACHABLE_PORT: u16 = 83;

pub const CLIENTS: [&str; 2] = ["198.51.100.7", "2001:db8:c::7"];
/// A client that reaches us, and is reached, by VLAN [`CLIENT_VLAN`].
pub const TAGGED_CLIENTS: [&str; 2] = ["198.51.101.7", "2001:db8:d::7"];
pub const CLIENT_VLAN: u16 = 30;
pub const SOURCES: [&str; 2] = ["10.2.0.1", "fd00:2::1"];
pub const BACKENDS: [&str; 2] = ["10.2.0.11", "fd00:2::11"];
/// Reached by VLAN [`VLAN`] of the backends' side, from these addresses of ours.
pub const VLAN_BACKENDS: [&str; 2] = ["10.3.0.11", "fd00:3::11"];
pub const VLAN_SOURCES: [&str; 2] = ["10.3.0.1", "fd00:3::1"];
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
    let mut model = Model::default();
    model.now.set(now);
    for (family, vip) in VIPS.into_iter().enumerate() {
        model.addresses.push(Address::of(ip(vip)));
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
            model.opened.borrow_mut().push(0);
        }
        model.services.push(Service::default());
        model.current_rings.push(Ring::new(0, 0));
        model.load.borrow_mut().push(0);
        model.ports.borrow_mut().push(0);
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
        let proxied = Vip { service: 0, path: path::PROXY };
        model.vips.insert(vip_key(vip, PROXY_PORT, 6), proxied);
        super::guarded::add(&mut model, family, backend);
    }
    model
}

/// Towards the backends.
#[must_use]
pub fn hop(vlan: u16) -> Hop {
    Hop::new(BACKEND_MAC, SOURCE_MAC, BACKEND_SIDE, vlan)
}
