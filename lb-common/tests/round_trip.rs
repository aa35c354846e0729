//! Any client frame of a NAT service, rewritten, answered and rewritten back, returns to the
//! client as from the address that it asked.

use std::net::SocketAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::{
    pipeline::balance,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp, udp},
        world::{self, CLIENTS, TCP_PORT, UDP_PORT, VIPS},
    },
    verdict::Verdict,
};
use proptest::prelude::*;

/// Addresses, ports and payload of a frame, as an independent parser sees them.
fn ends(frame: &Frame) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(&frame.0).expect("a well-formed frame");
    let (src, dst) = match packet.net.expect("IP") {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (from, to, payload) = match packet.transport.expect("a transport header") {
        TransportSlice::Tcp(tcp) => {
            (tcp.source_port(), tcp.destination_port(), tcp.payload().to_vec())
        }
        TransportSlice::Udp(udp) => {
            (udp.source_port(), udp.destination_port(), udp.payload().to_vec())
        }
        _ => panic!("neither TCP nor UDP"),
    };
    (SocketAddr::new(src, from), SocketAddr::new(dst, to), payload)
}

fn steer(frame: &Frame, model: &Model) -> Frame {
    let mut buffer = Buffer::new(&frame.0);
    let verdict = balance(&mut buffer, model);
    assert!(matches!(verdict, Verdict::Steer { .. }), "{verdict:?} for {frame:?}");
    Frame(buffer.bytes().to_vec())
}

proptest! {
    #[test]
    fn there_and_back(
        v6: bool,
        is_tcp: bool,
        low: [u8; 2],
        port in 1u16..,
        ttl in 2u8..,
        there in proptest::collection::vec(any::<u8>(), 0..1400),
        back in proptest::collection::vec(any::<u8>(), 0..1400),
        vlan in proptest::option::of(0u16..4096),
    ) {
        let family = usize::from(v6);
        let model = world::model(1 << 40);
        let client = SocketAddr::new(vary(CLIENTS[family], low), port);
        let vip = world::socket(VIPS[family], if is_tcp { TCP_PORT } else { UDP_PORT });
        let link = Link { vlan, ttl, ..Link::default() };
        let make = |link, src, dst, flags: &str, payload: &[u8]| {
            if is_tcp { tcp(link, src, dst, flags, payload) } else { udp(link, src, dst, payload) }
        };

        let request = steer(&make(link, client, vip, "S", &there), &model);
        prop_assert_eq!(request.verify(), Ok(()));
        let (source, backend, payload) = ends(&request);
        prop_assert_eq!(source.ip(), world::ip(world::SOURCES[family]));
        prop_assert_eq!(backend, world::socket(world::BACKENDS[family], world::BACKEND_PORT));
        prop_assert_eq!(&payload, &there);

        let answer = make(Link { ttl, ..Link::default() }, backend, source, "SA", &back);
        let answer = steer(&answer, &model);
        prop_assert_eq!(answer.verify(), Ok(()));
        prop_assert_eq!(ends(&answer), (vip, client, back));
    }
}

/// Another host of the same network.
fn vary(address: &str, low: [u8; 2]) -> std::net::IpAddr {
    match world::ip(address) {
        std::net::IpAddr::V4(ip) => {
            let [a, b, _, _] = ip.octets();
            std::net::Ipv4Addr::new(a, b, low[0], low[1]).into()
        }
        std::net::IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[14..].copy_from_slice(&low);
            std::net::Ipv6Addr::from(octets).into()
        }
    }
}
