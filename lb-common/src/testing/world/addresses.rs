//! The addresses, ports and links of the world that the table's frames meet.

use std::net::{IpAddr, SocketAddr};

use crate::{
    abi::{Address, Hop, SERVICE_TAG, VipKey},
    testing::frames::{CLIENT_MAC, OUR_MAC},
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

pub(crate) fn vip_key(vip: &str, port: u16, protocol: u32) -> VipKey {
    VipKey::new(Address::of(ip(vip)), port.to_be_bytes(), protocol)
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
