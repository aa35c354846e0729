//! Services that do not take everybody. Each row of the table has one of its own: what is measured
//! of a source or a service in the loaded object stays there.

use super::addresses::{CLIENTS, STRANGERS, VIPS, ip, vip_key};
use crate::{
    abi::{Address, ListKey, Prefixes, Ring, Service, Vip, access, path, service_flags},
    testing::model::Model,
};

/// The clients' network is denied.
pub const DENIED_PORT: u16 = 110;
/// It is, but the client is allowed.
pub const EXCEPTED_PORT: u16 = 111;
/// A stranger's network is allowed, and nobody else.
pub const MEMBERS_PORT: u16 = 112;
/// One new flow an hour of each source.
pub const SOURCE_RATE_PORTS: [u16; 3] = [113, 114, 115];
/// Two at once and one an hour of all sources.
pub const SERVICE_RATE_PORTS: [u16; 2] = [116, 117];
/// More than one unknown source a second is challenged.
pub const CHALLENGE_PORTS: [u16; 4] = [118, 119, 120, 121];

const HOUR: u64 = 3_600_000_000_000;

pub(crate) fn add(model: &mut Model, family: usize, backend: u32) {
    let mut serve = |port, service| serve(model, family, backend, port, service);
    let listed = service_flags::LISTED | service_flags::RESET_UNKNOWN;
    let listed = Service { flags: listed, ..Service::default() };
    let denied = serve(DENIED_PORT, listed);
    let excepted = serve(EXCEPTED_PORT, listed);
    let members =
        serve(MEMBERS_PORT, Service { flags: listed.flags | service_flags::DENY_OTHERS, ..listed });
    let source_prefix = Prefixes { v4: 32, v6: 64, pad: 0 };
    for port in SOURCE_RATE_PORTS {
        serve(port, Service { source_interval: HOUR, source_prefix, ..Service::default() });
    }
    for port in SERVICE_RATE_PORTS {
        let (service_interval, service_burst) = (HOUR, HOUR);
        serve(port, Service { service_interval, service_burst, ..Service::default() });
    }
    for port in CHALLENGE_PORTS {
        serve(port, Service { challenge: 1, remember: HOUR, ..Service::default() });
    }
    let [client, stranger] = [CLIENTS, STRANGERS].map(|it| Address::of(ip(it[family])));
    model.crowd.lists.extend([
        (network(denied, client), access::DENY),
        (network(excepted, client), access::DENY),
        (ListKey::whole(excepted, client), access::ALLOW),
        (network(members, stranger), access::ALLOW),
    ]);
}

fn network(service: u32, of: Address) -> ListKey {
    let length = if of.is_v4() { 96 + 24 } else { 64 };
    ListKey::prefix(service, of.masked(Prefixes { v4: 24, v6: 64, pad: 0 }), length)
}

fn serve(model: &mut Model, family: usize, backend: u32, port: u16, service: Service) -> u32 {
    let id = model.services.len() as u32;
    model.services.push(service);
    model.current_rings.push(Ring::new(backend, 1));
    let vip = Vip { service: id, path: path::STEER };
    model.vips.insert(vip_key(VIPS[family], port, 6), vip);
    id
}
