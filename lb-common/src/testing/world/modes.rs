//! Services whose backends answer directly, and those whose ways are narrow.

use super::addresses::{BACKEND_PORT, BACKENDS, SOURCES, VIPS, hop, hop_to_client, ip};
use crate::{
    abi::{Address, Backend, Reach, Ring, Service, Vip, VipKey, mode, path},
    testing::{count::Count, frames::TUNNEL_PORT, model::Model},
};

/// Services of each mode, TCP and UDP, by their port.
pub const L2_PORT: u16 = 184;
pub const IPIP_PORT: u16 = 185;
/// The same with tunnels of the other family.
pub const IPIP_OTHER_PORT: u16 = 186;
pub const GUE_PORT: u16 = 187;
pub const GUE_OTHER_PORT: u16 = 188;
/// `nat`, to a backend that takes packets of 1400 bytes.
pub const NARROW_PORT: u16 = 189;
pub const NARROW_MTU: u32 = 1400;
/// `nat`, with an MSS of at most 1300.
pub const CLAMPED_PORT: u16 = 190;
pub const CLAMPED_MSS: u16 = 1300;

/// The lower half of an outer IPv4 address differs from flow to flow.
pub const SPREAD: u16 = 16;

/// Clients behind a link of [`NARROW_MTU`].
pub const NARROW_CLIENTS: [&str; 2] = ["198.51.103.7", "2001:db8:f::7"];

/// What this world's links carry.
const MTU: u32 = 1500;

pub(crate) fn add(model: &mut Model, family: usize, now: u64) {
    let other = 1 - family;
    let kinds = [
        (L2_PORT, mode::L2, family, 0, 0),
        (IPIP_PORT, mode::IPIP, family, 0, 0),
        (IPIP_OTHER_PORT, mode::IPIP, other, 0, 0),
        (GUE_PORT, mode::GUE, family, 0, 0),
        (GUE_OTHER_PORT, mode::GUE, other, 0, 0),
        (NARROW_PORT, mode::NAT, family, NARROW_MTU, 0),
        (CLAMPED_PORT, mode::NAT, family, 0, u32::from(CLAMPED_MSS)),
    ];
    for (port, mode, outer, mtu, mss) in kinds {
        let (service, backend) = (model.services.len() as u32, model.backends.len() as u32);
        let tunnel = match mode {
            mode::GUE => TUNNEL_PORT.to_be_bytes(),
            mode::NAT => BACKEND_PORT.to_be_bytes(),
            _ => [0, 0],
        };
        let mut hop = hop(0);
        hop.mtu = if mtu == 0 { MTU } else { mtu };
        model.current_rings.push(Ring::new(model.rings.len() as u32, 1));
        model.rings.extend([backend, 1, backend, 0]);
        model.backends.push(Backend {
            address: Address::of(ip(BACKENDS[outer])),
            source: Address::of(ip(SOURCES[outer])),
            port: tunnel,
            spread: if mode == mode::IPIP { SPREAD } else { 0 },
            load: family as u32,
            weight: 1,
            soft_limit: u32::MAX,
            hard_limit: u32::MAX,
            mtu,
            ..Backend::default()
        });
        model.reach.push(Reach { hop, at: now, ..Reach::default() }.into());
        model.services.push(Service { mode, mss, ..Service::default() });
        model.opened.push(Count::default());
        for protocol in [6, 17] {
            let address = Address::of(ip(VIPS[family]));
            let key = VipKey::new(address, port.to_be_bytes(), protocol);
            model.vips.insert(key, Vip { service, path: path::STEER });
        }
    }
    let mut narrow = hop_to_client();
    narrow.mtu = NARROW_MTU;
    model.routes.insert(Address::of(ip(NARROW_CLIENTS[family])), narrow);
}
