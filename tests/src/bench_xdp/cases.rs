//! The frames that are measured, and what the program must do with each.

use lb_common::{
    abi::{Address, CachedHop, Flow, FlowKey, mode},
    parse::{TCP, UDP},
    testing::{
        Frame,
        frames::{Link, tcp, udp},
        modes::{GUE_PORT, IPIP_PORT, L2_PORT},
        world::{
            BACKEND_PORT, BACKENDS, CLIENTS, FIRST_SOURCE_PORT, SOURCES, TCP_PORT, UDP_PORT, VIPS,
            hop, ip, limits, socket,
        },
    },
};

pub(super) struct Case {
    pub name: String,
    pub frame: Frame,
    /// The flows that are known, this frame's among them. `None`: every measured frame opens one,
    /// and is of a flow that the floor does not find.
    pub known: Option<Known>,
    /// What the balancer gets in place of the frame: every one opens a flow beside those that are
    /// known, while the floor looks for these.
    pub opening: Option<Frame>,
    /// Whether frames leave within others.
    pub is_tunnel: bool,
    /// Services that there are beside the world's; the frames are for one of the world's.
    pub others: u32,
}

/// `count` flows, alike but for the client's and the backend's IPv4 addresses, which count up.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub count: u32,
    first: Flow,
    direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToBackend,
    ToClient,
}

const CLIENT_PORT: u16 = 40000;
/// All headers of a rewritten packet lie within what the bench puts back, so frames are longer.
const PAYLOAD: [u8; 64] = [0x61; 64];
/// Of the first of many clients, and of the backend of their flows.
const MANY: [&str; 2] = ["10.64.0.0", "10.128.0.0"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, name) in ["v4", "v6"].into_iter().enumerate() {
        let [client, backend] = [CLIENTS[family], BACKENDS[family]];
        cases.extend(known(&format!("nat {name} tcp known flow"), family, TCP, client, backend, 1));
    }
    let [client, backend] = [CLIENTS[0], BACKENDS[0]];
    cases.extend(known("nat v4 udp known flow", 0, UDP, client, backend, 1));
    for (count, name) in [(1 << 16, "64Ki"), (1 << 20, "1Mi")] {
        let [client, backend] = MANY;
        cases.extend(known(&format!("nat v4 tcp {name} flows"), 0, TCP, client, backend, count));
    }
    let direct =
        [(mode::L2, "l2", L2_PORT), (mode::IPIP, "ipip", IPIP_PORT), (mode::GUE, "gue", GUE_PORT)];
    for (mode, mode_name, port) in direct {
        for (family, name) in ["v4", "v6"].into_iter().enumerate() {
            let [client, backend] = [CLIENTS[family], BACKENDS[family]];
            for (protocol, flow) in [(TCP, "tcp known flow"), (UDP, "udp known flow")] {
                let name = format!("{mode_name} {name} {flow}");
                let [to_backend, _] = known(&name, family, protocol, client, backend, 1);
                cases.push(to_backend.direct(mode));
            }
        }
        for (count, name) in [(1 << 16, "64Ki"), (1 << 20, "1Mi")] {
            let name = format!("{mode_name} v4 tcp {name} flows");
            let [to_backend, _] = known(&name, 0, TCP, MANY[0], MANY[1], count);
            cases.push(to_backend.direct(mode));
        }
        let client = socket(CLIENTS[0], CLIENT_PORT);
        cases.push(Case {
            name: format!("{mode_name} v4 syn new flow"),
            frame: tcp(Link::default(), client, socket(VIPS[0], port), "S", &PAYLOAD),
            known: None,
            opening: None,
            is_tunnel: mode != mode::L2,
            others: 0,
        });
    }
    let client = socket(CLIENTS[0], CLIENT_PORT);
    let picks = [("", TCP_PORT), (" p2c", limits::P2C_PORT), (" limits", limits::LIMITED_PORT)];
    cases.extend(picks.map(|(pick, port)| Case {
        name: format!("nat v4 syn new flow{pick}"),
        frame: tcp(Link::default(), client, socket(VIPS[0], port), "S", &PAYLOAD),
        known: None,
        opening: None,
        is_tunnel: false,
        others: 0,
    }));
    cases.extend(first_packets());
    cases.extend([(1, "1"), (1 << 16, "64Ki"), (1 << 20, "1Mi")].map(beside));
    cases.extend([1, 10_000].into_iter().flat_map(among));
    cases
}

/// What opens a flow and is no SYN over IPv4. Their sources count up within an IPv6 address, too.
fn first_packets() -> [Case; 3] {
    let link = Link::default();
    let [v4, v6] = CLIENTS.map(|client| socket(client, CLIENT_PORT));
    let syn = tcp(link, v6, socket(VIPS[1], TCP_PORT), "S", &PAYLOAD);
    let datagram = udp(link, v4, socket(VIPS[0], UDP_PORT), &PAYLOAD);
    let datagram_v6 = udp(link, v6, socket(VIPS[1], UDP_PORT), &PAYLOAD);
    let cases = [("v6 syn", syn), ("v4 udp", datagram), ("v6 udp", datagram_v6)];
    cases.map(|(name, frame)| Case {
        name: format!("nat {name} new flow"),
        frame,
        known: None,
        opening: None,
        is_tunnel: false,
        others: 0,
    })
}

/// A new flow in a table of so many, while the floor looks for those: with one, all that the floor
/// touches is in the cache.
fn beside((count, name): (u32, &str)) -> Case {
    let [there, _] = known("", 0, TCP, MANY[0], MANY[1], count);
    let client = socket(CLIENTS[0], CLIENT_PORT);
    let syn = tcp(Link::default(), client, socket(VIPS[0], TCP_PORT), "S", &PAYLOAD);
    Case { name: format!("nat v4 syn new flow beside {name}"), opening: Some(syn), ..there }
}

/// A known flow and a new one of one service of so many.
fn among(services: u32) -> [Case; 2] {
    let name = if services == 1 { "1 service".to_owned() } else { format!("{services} services") };
    let others = services - 1;
    let name_of = |flow: &str| format!("nat v4 tcp {flow} flow, {name}");
    let [known, _] = known("", 0, TCP, CLIENTS[0], BACKENDS[0], 1);
    let client = socket(CLIENTS[0], CLIENT_PORT);
    let new = Case {
        name: name_of("new"),
        frame: tcp(Link::default(), client, socket(VIPS[0], TCP_PORT), "S", &PAYLOAD),
        known: None,
        opening: None,
        is_tunnel: false,
        others,
    };
    [Case { name: name_of("known"), others, ..known }, new]
}

/// Both directions of flows like the one between `client` and `backend`.
fn known(
    name: &str,
    family: usize,
    protocol: u32,
    client: &str,
    backend: &str,
    count: u32,
) -> [Case; 2] {
    let is_tcp = protocol == TCP;
    let vip = socket(VIPS[family], if is_tcp { TCP_PORT } else { UDP_PORT });
    let make = |from, to| {
        let link = Link::default();
        if is_tcp { tcp(link, from, to, "A", &PAYLOAD) } else { udp(link, from, to, &PAYLOAD) }
    };
    let first = Flow {
        protocol,
        client: Address::of(ip(client)),
        vip: Address::of(vip.ip()),
        client_port: CLIENT_PORT.to_be_bytes(),
        vip_port: vip.port().to_be_bytes(),
        backend_port: BACKEND_PORT.to_be_bytes(),
        source_port: FIRST_SOURCE_PORT.to_be_bytes(),
        backend_address: Address::of(ip(backend)),
        source: Address::of(ip(SOURCES[family])),
        load: family as u32,
        ..Flow::default()
    };
    let there = make(socket(client, CLIENT_PORT), vip);
    let back = make(socket(backend, BACKEND_PORT), socket(SOURCES[family], FIRST_SOURCE_PORT));
    let case = |(way, frame, direction)| Case {
        name: format!("{name}, {way}"),
        frame,
        known: Some(Known { count, first, direction }),
        opening: None,
        is_tunnel: false,
        others: 0,
    };
    [("to backend", there, Direction::ToBackend), ("to client", back, Direction::ToClient)]
        .map(case)
}

impl Case {
    /// The same towards a backend that answers itself. Sums are not those of the addresses: that
    /// changes nothing of what they cost.
    fn direct(mut self, mode: u32) -> Self {
        if let Some(known) = &mut self.known {
            let is_v4 = known.first.vip.is_v4();
            let header = if is_v4 { 20 } else { 40 };
            let overhead = match mode {
                mode::IPIP => header,
                mode::GUE => header + 8,
                _ => 0,
            };
            known.first = Flow { mode: mode as u8, overhead, ..known.first };
        }
        self.is_tunnel = mode != mode::L2;
        self
    }
}

impl Known {
    /// As if their last packets had passed at `now`.
    pub(super) fn flows(&self, now: u64) -> impl Iterator<Item = Flow> + '_ {
        let hop = CachedHop { hop: hop(0), at: now };
        let first = Flow { opened: now, seen: now, answered: now, hop, ..self.first };
        (0..self.count).map(move |number| Flow {
            client: nth_after(first.client, number),
            backend_address: nth_after(first.backend_address, number),
            ..first
        })
    }

    /// The keys of the frames that are measured.
    pub(super) fn keys(&self) -> impl Iterator<Item = FlowKey> + '_ {
        self.flows(0).map(|flow| match self.direction {
            Direction::ToBackend => flow.question(),
            Direction::ToClient => flow.answer(),
        })
    }
}

/// The IPv4 address that is `number` above; an address of either family if that is 0.
fn nth_after(address: Address, number: u32) -> Address {
    if number == 0 {
        return address;
    }
    let low = u32::from_be_bytes(address.low()) + number;
    Address::v4(low.to_be_bytes())
}
