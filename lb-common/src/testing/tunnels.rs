//! Packets in packets, and ICMP errors with all that they quote.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder, PacketBuilderStep,
};

use super::frames::{Frame, Link, icmp};

const L3: usize = 14;

/// The fields of an outer header that its tunnel decides about.
#[derive(Clone, Copy)]
pub struct Outer {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// DSCP and ECN.
    pub class: u8,
    /// IPv6 only.
    pub label: u16,
}

/// `inner`'s packet in an IP packet (RFC 2003, RFC 2473).
#[must_use]
pub fn ipip(link: Link, outer: Outer, inner: &Frame) -> Frame {
    let mut bytes = Vec::new();
    let protocol = if inner.0[L3] >> 4 == 4 { 4 } else { 41 };
    header(link, outer).write(&mut bytes, IpNumber(protocol), &inner.0[L3..]).expect("a vector");
    Frame(bytes)
}

/// `inner`'s packet in a UDP datagram.
#[must_use]
pub fn gue(link: Link, outer: Outer, ports: [u16; 2], inner: &Frame) -> Frame {
    let mut bytes = Vec::new();
    let udp = header(link, outer).udp(ports[0], ports[1]);
    udp.write(&mut bytes, &inner.0[L3..]).expect("a vector");
    Frame(bytes)
}

fn header(link: Link, outer: Outer) -> PacketBuilderStep<IpHeaders> {
    let Outer { src, dst, class, label } = outer;
    let ip = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let ip = Ipv4Header::new(0, link.ttl, IpNumber(0), src.octets(), dst.octets());
            IpHeaders::Ipv4(classed_v4(ip.expect("no payload"), class), Default::default())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let ip = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::try_new(label.into()).expect("sixteen bits"),
                hop_limit: link.ttl,
                source: src.octets(),
                destination: dst.octets(),
                ..Ipv6Header::default()
            };
            IpHeaders::Ipv6(ip, Default::default())
        }
        _ => panic!("one family for both ends"),
    };
    PacketBuilder::ethernet2(link.src_mac, link.dst_mac).ip(ip)
}

fn classed_v4(mut ip: Ipv4Header, class: u8) -> Ipv4Header {
    ip.dscp = (class >> 2).try_into().expect("six bits");
    ip.ecn = (class & 3).try_into().expect("two bits");
    ip
}

/// An ICMP error that says the size that would do and quotes `quoted` bytes of the packet.
#[must_use]
pub fn too_big(
    link: Link,
    [src, dst]: [IpAddr; 2],
    mtu: u16,
    frame: &Frame,
    quoted: usize,
) -> Frame {
    let kind = if src.is_ipv4() { [3, 4] } else { [2, 0] };
    let body = [&[0, 0], &mtu.to_be_bytes()[..], &frame.0[L3..L3 + quoted]].concat();
    let error = icmp(link, src, dst, kind, &body);
    // As routers mark what they send (RFC 1812, 4.3.2.5).
    if src.is_ipv4() { error.classed(0xc0) } else { error }
}

impl Frame {
    /// With this DSCP and ECN.
    #[must_use]
    pub fn classed(self, class: u8) -> Self {
        if self.0[L3] >> 4 == 4 {
            let (ip, _) = Ipv4Header::from_slice(&self.0[L3..]).expect("an IPv4 header");
            let mut ip = classed_v4(ip, class);
            ip.header_checksum = ip.calc_header_checksum();
            self.patch(L3, &ip.to_bytes())
        } else {
            let word = 6 << 12 | u16::from(class) << 4;
            self.patch(L3, &word.to_be_bytes())
        }
    }

    /// With these options in the header of a TCP segment without payload: a multiple of four bytes.
    #[must_use]
    pub fn with_tcp_options(self, options: &[u8]) -> Self {
        let mut bytes = Vec::new();
        let (ip, rest) =
            IpHeaders::from_slice_lax(&self.0[L3..]).map(|(ip, rest, ..)| (ip, rest)).expect("IP");
        let (mut tcp, _) = etherparse::TcpHeader::from_slice(rest.payload).expect("TCP");
        tcp.set_options_raw(options).expect("at most forty bytes");
        let eth: [[u8; 6]; 2] =
            [self.0[6..12].try_into().expect("six"), self.0[..6].try_into().expect("six")];
        let builder = PacketBuilder::ethernet2(eth[0], eth[1]).ip(ip).tcp_header(tcp);
        builder.write(&mut bytes, &[]).expect("a vector");
        Frame(bytes)
    }

    /// What a tunnel's packet carries, if it is one: behind IP in IP, or UDP to `port`.
    pub(crate) fn inner(&self, port: u16) -> Option<Frame> {
        let (protocol, l4) = match [self.0[12], self.0[13]] {
            [0x08, 0x00] => (*self.0.get(L3 + 9)?, L3 + 20),
            [0x86, 0xdd] => (*self.0.get(L3 + 6)?, L3 + 40),
            _ => return None,
        };
        let to =
            |at: usize| self.0.get(at..at + 2).map_or(0, |it| u16::from_be_bytes([it[0], it[1]]));
        let start = match protocol {
            4 | 41 => l4,
            17 if to(l4 + 2) == port => l4 + 8,
            _ => return None,
        };
        let kind: [u8; 2] = if *self.0.get(start)? >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        Some(Frame([&self.0[..12], &kind, &self.0[start..]].concat()))
    }
}

/// Another port of the same address.
#[must_use]
pub fn at_port(mut socket: SocketAddr, port: u16) -> SocketAddr {
    socket.set_port(port);
    socket
}
