//! The world of the frames' tests in the kernel: a network that routes as the model does, and the
//! model's tables as commands.

use std::net::IpAddr;

use lb::tables::Command;
use lb_common::{abi::Address, tables::Tables as _, testing::Model};

use crate::lab::netns::Netns;

/// A device with our address next to its neighbours', all of them known. Its index. The first of
/// each family tells the network.
///
/// # Panics
///
/// `ip` refuses.
pub fn link(netns: &Netns, name: &str, mac: [u8; 6], their_mac: [u8; 6], ends: &[&str]) -> u32 {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (mac, their_mac) = (text(mac), text(their_mac));
    let ip = |arguments: String| netns.ip(&arguments).expect("ip");
    ip(format!("link add {name} address {mac} type veth peer name {name}-peer"));
    ip(format!("link set {name} up"));
    ip(format!("link set {name}-peer up"));
    for end in ends {
        let length = if end.parse::<IpAddr>().expect("an address").is_ipv4() { 24 } else { 64 };
        let ours = neighbour_of(end);
        ip(format!("address replace {ours}/{length} dev {name}"));
        ip(format!("neighbour add {end} lladdr {their_mac} dev {name} nud permanent"));
    }
    let shown = ip(format!("-o link show dev {name}"));
    let index = shown.split(':').next().and_then(|index| index.parse().ok());
    index.expect("the device's index")
}

/// Makes it a network of a router.
///
/// # Panics
///
/// There is no such sysctl.
pub fn forward(netns: &Netns) {
    for family in ["ipv4", "ipv6"] {
        netns.set_sysctl(&format!("net/{family}/conf/all/forwarding"), "1").expect("sysctl");
    }
}

/// The first host of the same network.
fn neighbour_of(end: &str) -> String {
    let cut = end.rfind(['.', ':']).expect("an address") + 1;
    format!("{}1", &end[..cut])
}

/// Our addresses that backends see in turn.
#[must_use]
pub fn source_pool(model: &Model) -> Vec<IpAddr> {
    let addresses = model.source_pool.iter();
    addresses.map(|address| IpAddr::from(address.bytes()).to_canonical()).collect()
}

/// The model's tables as the daemon would fill them, without the backends.
#[must_use]
pub fn commands(model: &Model) -> Vec<Command> {
    let mut commands =
        vec![Command::WriteRing { offset: 0, fingerprint: None, words: model.rings.clone() }];
    for (service, ring) in (0..).zip(&model.current_rings) {
        commands.push(Command::SetRing { service, ring: *ring });
    }
    for (id, service) in (0..).zip(&model.services) {
        commands.push(Command::SetService { id, service: *service });
    }
    commands.extend(model.vips.iter().map(|(key, vip)| Command::SetVip(*key, *vip)));
    let lists = model.crowd.lists.iter();
    commands.extend(lists.map(|(prefix, access)| Command::SetAccess(*prefix, *access)));
    commands.extend(model.ranges.iter().map(|(key, vip)| Command::SetRange(*key, *vip)));
    commands.extend(model.quic_ids.iter().map(|(key, id)| Command::SetQuicId(*key, *id)));
    let flags = |address: &Address| model.address(address).expect("one of the model's");
    let addresses = model.addresses.keys();
    commands.extend(addresses.map(|address| Command::SetAddress(*address, flags(address))));
    commands
}
