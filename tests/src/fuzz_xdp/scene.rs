//! Who takes part: addresses that the network around the program knows, and the network itself.

use std::net::IpAddr;

use lb_common::{
    abi::{Address, Hop, SERVICE_TAG},
    testing::{
        Model,
        frames::{CLIENT_MAC, OUR_MAC},
        world::{BACKEND_MAC, SOURCE_MAC},
    },
};

use crate::{
    kernel::mirror,
    lab::{netns::Netns, tag},
};

pub(super) const VIPS: [[&str; 2]; 2] =
    [["203.0.113.10", "203.0.113.20"], ["2001:db8::10", "2001:db8::20"]];
/// Where backends are, by family; nobody knows the way to the last.
pub(super) const BACKENDS: [[&str; 5]; 2] = [
    ["10.2.0.11", "10.2.0.12", "10.3.0.11", "10.4.0.11", "10.9.0.11"],
    ["fd00:2::11", "fd00:2::12", "fd00:3::11", "fd00:4::11", "fd00:9::11"],
];
/// The addresses of ours that they see.
pub(super) const SOURCES: [&str; 2] = ["10.2.0.1", "fd00:2::1"];
/// Others of ours that they may see in turn with that one.
pub(super) const MORE_SOURCES: [[&str; 2]; 2] =
    [["10.2.0.2", "10.2.0.3"], ["fd00:2::2", "fd00:2::3"]];
/// Clients, the last one of a network that nobody knows.
pub(super) const CLIENTS: [[&str; 7]; 2] = [
    [
        "198.51.100.7",
        "198.51.100.8",
        "198.51.100.9",
        "198.51.101.7",
        "198.51.102.7",
        "198.51.103.7",
        "192.0.2.99",
    ],
    [
        "2001:db8:c::7",
        "2001:db8:c::8",
        "2001:db8:c:0:1::9",
        "2001:db8:d::7",
        "2001:db8:e::7",
        "2001:db8:f::7",
        "2001:db8:99::99",
    ],
];

/// What a link carries, and the narrow one.
const MTU: u32 = 1500;
const NARROW: u32 = 1400;

/// One of the network's links, which may stand for a VLAN of another.
struct Link {
    name: &'static str,
    parent: &'static str,
    tags: [u16; 2],
    macs: [[u8; 6]; 2],
    ends: Vec<&'static str>,
    mtu: u32,
}

/// The network, and what the model must know of it.
pub(super) struct Scene {
    pub netns: Netns,
    /// Where frames come in.
    pub up: u32,
    /// VLAN devices: index, parent, tags.
    pub vlans: Vec<(u32, u32, [u16; 2])>,
    routes: Vec<(Address, Hop)>,
}

fn links() -> Vec<Link> {
    let [client, backend] = [[OUR_MAC, CLIENT_MAC], [SOURCE_MAC, BACKEND_MAC]];
    let clients = |from: usize, to: usize| [&CLIENTS[0][from..to], &CLIENTS[1][from..to]].concat();
    let backends =
        |from: usize, to: usize| [&BACKENDS[0][from..to], &BACKENDS[1][from..to]].concat();
    let link = |name, parent, tags, macs, ends, mtu| Link { name, parent, tags, macs, ends, mtu };
    vec![
        link("up0", "up0", [0, 0], client, clients(0, 3), MTU),
        link("ctag0", "up0", [30, 0], client, clients(3, 4), MTU),
        link("cdouble0", "up0", [SERVICE_TAG | 40, 41], client, clients(4, 5), MTU),
        link("narrow0", "up0", [0, 0], client, clients(5, 6), NARROW),
        link("down0", "down0", [0, 0], backend, backends(0, 2), MTU),
        link("btag0", "down0", [100, 0], backend, backends(2, 3), MTU),
        link("bdouble0", "down0", [SERVICE_TAG | 200, 201], backend, backends(3, 4), MTU),
    ]
}

impl Scene {
    /// # Panics
    ///
    /// No root, or no `ip`.
    #[must_use]
    pub(super) fn create() -> Self {
        let netns = tag::alone("fuzz").expect("root");
        let (mut indices, mut vlans, mut routes) = (Vec::new(), Vec::new(), Vec::new());
        for Link { name, parent, tags, macs, ends, mtu } in links() {
            let index = mirror::link(&netns, name, macs[0], macs[1], &ends);
            netns.ip(&format!("link set {name} mtu {mtu}")).expect("ip");
            indices.push((name, index));
            let find = |wanted| indices.iter().find(|it| it.0 == wanted).expect("made before").1;
            let parent = find(parent);
            if parent != index {
                vlans.push((index, parent, tags));
            }
            let mut hop = Hop::new(macs[1], macs[0], parent, tags[0]);
            (hop.inner_vlan, hop.mtu) = (tags[1], mtu);
            routes.extend(ends.iter().map(|end| (address(end), hop)));
        }
        mirror::forward(&netns);
        let up = indices[0].1;
        Self { netns, up, vlans, routes }
    }

    /// Lets a model have the same network around it.
    pub(super) fn surround(&self, model: &mut Model) {
        model.ingress = self.up;
        model.ingress_mtu = MTU;
        model.routes.extend(self.routes.iter().copied());
    }
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn address(text: &str) -> Address {
    Address::of(ip(text))
}

/// As text has it.
pub(super) fn ip_of(address: Address) -> IpAddr {
    if address.is_v4() { address.low().into() } else { address.bytes().into() }
}
