//! What goes round a packet comes off again at its backend, and nothing else does.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    abi::Address,
    decap::{LocalHost, Outcome, strip},
    pipeline::balance,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, TUNNEL_PORT, echo_request, tcp, udp},
        modes::{GUE_OTHER_PORT, GUE_PORT, IPIP_OTHER_PORT, IPIP_PORT},
        tunnels::{Outer, gue, ipip},
        world::{self, BACKENDS, CLIENTS, SOURCES, VIPS},
    },
    verdict::Verdict,
};
use proptest::prelude::*;

/// A backend of the world's, which has the announced addresses, too.
struct Backend {
    local: Vec<IpAddr>,
    from: Vec<IpAddr>,
}

impl Backend {
    fn new() -> Self {
        let local = BACKENDS.into_iter().chain(VIPS).map(world::ip).collect();
        Self { local, from: SOURCES.map(world::ip).to_vec() }
    }

    /// Whoever sends.
    fn of_all() -> Self {
        Self { from: Vec::new(), ..Self::new() }
    }
}

impl LocalHost for Backend {
    fn is_local(&self, address: &Address) -> bool {
        self.local.iter().any(|local| Address::of(*local) == *address)
    }

    fn admits(&self, address: &Address) -> bool {
        self.from.is_empty() || self.from.iter().any(|from| Address::of(*from) == *address)
    }

    fn gue_port(&self) -> [u8; 2] {
        TUNNEL_PORT.to_be_bytes()
    }
}

fn receive(frame: &Frame, backend: &Backend) -> (Outcome, Frame) {
    let mut buffer = Buffer::new(&frame.0);
    let outcome = strip(&mut buffer, backend);
    (outcome, Frame(buffer.bytes().to_vec()))
}

fn stays(frame: &Frame, expected: Outcome) {
    let (outcome, after) = receive(frame, &Backend::new());
    assert_eq!((outcome, &after), (expected, frame));
}

fn ends(family: usize) -> [SocketAddr; 2] {
    [world::socket(CLIENTS[family], 40000), world::socket(VIPS[family], 80)]
}

fn outer(family: usize) -> Outer {
    let (src, dst) = (world::ip(SOURCES[family]), world::ip(BACKENDS[family]));
    Outer { src, dst, class: 0, label: 0 }
}

/// Both families outside, with both inside, in both kinds of tunnel.
fn tunnelled(make: impl Fn(usize) -> Frame) -> Vec<(Outcome, usize, usize, Frame)> {
    let mut all = Vec::new();
    for outside in 0..2 {
        for inside in 0..2 {
            let (inner, outer) = (make(inside), outer(outside));
            let in_ip = ipip(Link::default(), outer, &inner);
            let in_udp = gue(Link::default(), outer, [50000, TUNNEL_PORT], &inner);
            all.push((Outcome::Ipip, outside, inside, in_ip));
            all.push((Outcome::Gue, outside, inside, in_udp));
        }
    }
    all
}

fn segment(family: usize) -> Frame {
    let [client, vip] = ends(family);
    tcp(Link::default(), client, vip, "PA", b"seventeen bytes!!")
}

#[test]
fn every_tunnel_is_opened() {
    for (kind, _, inside, frame) in tunnelled(segment) {
        assert_eq!(receive(&frame, &Backend::new()), (kind, segment(inside)));
    }
}

#[test]
fn a_packet_of_any_protocol_comes_out() {
    let ping = |family: usize| {
        echo_request(Link::default(), world::ip(CLIENTS[family]), world::ip(VIPS[family]))
    };
    for (kind, _, inside, frame) in tunnelled(ping) {
        assert_eq!(receive(&frame, &Backend::new()), (kind, ping(inside)));
    }
}

#[test]
fn padding_of_short_frames_stays_behind() {
    let [client, vip] = ends(0);
    let inner = || tcp(Link::default(), client, vip, "A", b"");
    let frame = ipip(Link::default(), outer(0), &inner()).padded(80);
    assert_eq!(receive(&frame, &Backend::new()), (Outcome::Ipip, inner().padded(60)));
}

#[test]
fn what_is_no_tunnel_of_ours_is_left_alone() {
    for (_, outside, _, frame) in tunnelled(segment) {
        let l4 = [34, 54][outside];
        let destination = if outside == 0 { (30, 4) } else { (38, 16) };
        stays(&frame.clone().patch(destination.0, &[9; 16][..destination.1]), Outcome::Other);
        stays(&frame.clone().tagged(0x8100, 5), Outcome::Other);
        stays(&frame.clone().cut(l4 + 4), Outcome::Other);
        if outside == 0 {
            stays(&frame.clone().patch(20, &[0x20, 0]), Outcome::Other);
            stays(&frame.clone().patch(14, &[0x46]), Outcome::Other);
        }
    }
    for family in 0..2 {
        stays(&segment(family), Outcome::Other);
        let [client, vip] = ends(family);
        stays(&udp(Link::default(), client, vip, b"to a tunnel's port?"), Outcome::Other);
        let other_port = gue(Link::default(), outer(family), [50000, 6081], &segment(family));
        stays(&other_port, Outcome::Other);
    }
}

#[test]
fn sources_that_are_not_welcome_are_refused() {
    for (kind, outside, inside, frame) in tunnelled(segment) {
        let source = if outside == 0 { (26, 4) } else { (22, 16) };
        let frame = frame.patch(source.0, &[7; 16][..source.1]);
        stays(&frame, Outcome::Unwelcome);
        assert_eq!(receive(&frame, &Backend::of_all()), (kind, segment(inside)));
    }
}

#[test]
fn packets_for_others_are_not_let_in() {
    let elsewhere = |family: usize| {
        let [client, _] = ends(family);
        tcp(Link::default(), client, world::socket(world::STRANGERS[family], 80), "S", b"")
    };
    for (_, _, _, frame) in tunnelled(elsewhere) {
        stays(&frame, Outcome::Astray);
    }
}

#[test]
fn what_is_no_packet_is_not_let_in() {
    for (kind, outside, inside, frame) in tunnelled(segment) {
        let between = if kind == Outcome::Gue { 8 } else { 0 };
        let start = [34, 54][outside] + between;
        stays(&frame.clone().patch(start, &[0x00]), Outcome::Malformed);
        stays(&frame.clone().patch(start, &[0x51]), Outcome::Malformed);
        if kind == Outcome::Ipip {
            // Another version than the outer header says.
            stays(&frame.clone().patch(start, &[[0x60, 0x45][inside]]), Outcome::Malformed);
        }
        let length = start + [2, 4][inside];
        stays(&frame.clone().patch(length, &[0x40, 0]), Outcome::Malformed);
    }
}

/// RFC 6040, figure 4.
#[test]
fn congestion_outside_is_congestion_inside() {
    for (inner, outer_class, expected) in
        [(0x02, 0x03, 0x03), (0xb9, 0x03, 0xbb), (0x03, 0x02, 0x03), (0x02, 0x01, 0x02), (0, 2, 0)]
    {
        for outside in 0..2 {
            for inside in 0..2 {
                let outer = Outer { class: outer_class, ..outer(outside) };
                let frame = ipip(Link::default(), outer, &segment(inside).classed(inner));
                let (outcome, after) = receive(&frame, &Backend::new());
                assert_eq!((outcome, &after), (Outcome::Ipip, &segment(inside).classed(expected)));
                assert_eq!(after.verify(), Ok(()));
            }
        }
    }
}

#[test]
fn a_mark_that_would_be_lost_costs_the_packet() {
    for outside in 0..2 {
        let outer = Outer { class: 3, ..outer(outside) };
        let frame = ipip(Link::default(), outer, &segment(0));
        assert_eq!(receive(&frame, &Backend::new()).0, Outcome::Congested);
    }
}

#[test]
fn no_truncation_panics_or_reads_past_the_end() {
    for (_, _, _, frame) in tunnelled(segment) {
        for length in 0..frame.0.len() {
            receive(&Frame(frame.0[..length].to_vec()), &Backend::new());
        }
    }
}

proptest! {
    /// What the balancer sends by any tunnel, the backend gets as the client sent it, but for a
    /// hop.
    #[test]
    fn the_packet_comes_out_as_it_went_in(
        v6: bool,
        is_tcp: bool,
        tunnel in 0..4_usize,
        port in 1u16..,
        ttl in 2u8..,
        class: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..1380),
    ) {
        let family = usize::from(v6);
        let model: Model = world::model(1 << 40);
        let client = SocketAddr::new(world::ip(CLIENTS[family]), port);
        let ports = [IPIP_PORT, IPIP_OTHER_PORT, GUE_PORT, GUE_OTHER_PORT];
        let vip = world::socket(VIPS[family], ports[tunnel]);
        let make = |link| {
            let frame = if is_tcp {
                tcp(link, client, vip, "S", &payload)
            } else {
                udp(link, client, vip, &payload)
            };
            frame.classed(class & !1)
        };
        let mut buffer = Buffer::new(&make(Link { ttl, ..Link::default() }).0);
        let verdict = balance(&mut buffer, &model);
        prop_assert!(matches!(verdict, Verdict::Steer { .. }), "{:?}", verdict);
        let sent = Frame(buffer.bytes().to_vec());
        prop_assert_eq!(sent.verify(), Ok(()));
        let (outcome, got) = receive(&sent, &Backend::of_all());
        prop_assert!(matches!(outcome, Outcome::Ipip | Outcome::Gue), "{:?}", outcome);
        let link = Link {
            src_mac: world::SOURCE_MAC,
            dst_mac: world::BACKEND_MAC,
            ttl: ttl - 1,
            vlan: None,
        };
        prop_assert_eq!(got, make(link));
    }
}
