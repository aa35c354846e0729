//! Frames with right lengths and checksums, and ways to spoil them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    EtherType, IpNumber, IpPayloadSlice, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket,
    TransportSlice, VlanId, err::packet::SliceError,
};

/// Where this world's backends take GUE: not where everybody does.
pub const TUNNEL_PORT: u16 = 5555;

/// An Ethernet frame as it goes over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Link-layer addresses and IP fields that a row may change.
#[derive(Clone, Copy)]
pub struct Link {
    pub src_mac: [u8; 6],
    pub dst_mac: [u8; 6],
    pub vlan: Option<u16>,
    pub ttl: u8,
}

impl Default for Link {
    fn default() -> Self {
        Self { src_mac: CLIENT_MAC, dst_mac: OUR_MAC, vlan: None, ttl: 64 }
    }
}

type Ip = PacketBuilderStep<etherparse::IpHeaders>;

fn ip(link: Link, src: IpAddr, dst: IpAddr) -> Ip {
    let eth = PacketBuilder::ethernet2(link.src_mac, link.dst_mac);
    match (src, dst, link.vlan) {
        (IpAddr::V4(src), IpAddr::V4(dst), None) => eth.ipv4(src.octets(), dst.octets(), link.ttl),
        (IpAddr::V4(src), IpAddr::V4(dst), Some(id)) => eth
            .single_vlan(VlanId::try_new(id).expect("twelve bits"))
            .ipv4(src.octets(), dst.octets(), link.ttl),
        (IpAddr::V6(src), IpAddr::V6(dst), None) => eth.ipv6(src.octets(), dst.octets(), link.ttl),
        (IpAddr::V6(src), IpAddr::V6(dst), Some(id)) => eth
            .single_vlan(VlanId::try_new(id).expect("twelve bits"))
            .ipv6(src.octets(), dst.octets(), link.ttl),
        _ => panic!("one family for both ends"),
    }
}

macro_rules! written {
    ($builder:expr, $payload:expr) => {{
        let mut bytes = Vec::new();
        $builder.write(&mut bytes, $payload).expect("a vector takes all");
        Frame(bytes)
    }};
}

/// TCP flags by their letters, such as `"SA"`.
#[must_use]
pub fn tcp(link: Link, src: SocketAddr, dst: SocketAddr, flags: &str, payload: &[u8]) -> Frame {
    let mut builder = ip(link, src.ip(), dst.ip()).tcp(src.port(), dst.port(), 1000, 64240);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(2000),
            'F' => builder.fin(),
            'R' => builder.rst(),
            'P' => builder.psh(),
            other => panic!("no TCP flag {other}"),
        };
    }
    written!(builder, payload)
}

/// A TCP reset without options or data, acknowledging or not.
#[must_use]
pub fn reset(
    link: Link,
    src: SocketAddr,
    dst: SocketAddr,
    sequence: u32,
    acknowledgement: Option<u32>,
) -> Frame {
    let builder = ip(link, src.ip(), dst.ip()).tcp(src.port(), dst.port(), sequence, 0).rst();
    match acknowledgement {
        Some(number) => written!(builder.ack(number), b""),
        None => written!(builder, b""),
    }
}

#[must_use]
pub fn udp(link: Link, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Frame {
    written!(ip(link, src.ip(), dst.ip()).udp(src.port(), dst.port()), payload)
}

#[must_use]
pub fn echo_request(link: Link, src: IpAddr, dst: IpAddr) -> Frame {
    let ip = ip(link, src, dst);
    match src {
        IpAddr::V4(_) => written!(ip.icmpv4_echo_request(7, 1), b"ping"),
        IpAddr::V6(_) => written!(ip.icmpv6_echo_request(7, 1), b"ping"),
    }
}

#[must_use]
pub fn echo_reply(link: Link, src: IpAddr, dst: IpAddr) -> Frame {
    let ip = ip(link, src, dst);
    match src {
        IpAddr::V4(_) => written!(ip.icmpv4_echo_reply(7, 1), b"ping"),
        IpAddr::V6(_) => written!(ip.icmpv6_echo_reply(7, 1), b"ping"),
    }
}

/// Any ICMP message: type and code, and the body from its fifth byte on.
#[must_use]
pub fn icmp(link: Link, src: IpAddr, dst: IpAddr, kind: [u8; 2], body: &[u8]) -> Frame {
    let rest: [u8; 4] = body[..4].try_into().expect("four bytes of rest");
    let ip = ip(link, src, dst);
    match src {
        IpAddr::V4(_) => {
            written!(ip.icmpv4_raw(kind[0], kind[1], rest), &body[4..])
        }
        IpAddr::V6(_) => {
            written!(ip.icmpv6_raw(kind[0], kind[1], rest), &body[4..])
        }
    }
}

/// An ICMP error of that type and code about `quoted`: its IP header and eight bytes (RFC 792).
#[must_use]
pub fn icmp_error(link: Link, src: IpAddr, dst: IpAddr, kind: [u8; 2], quoted: &Frame) -> Frame {
    let header = if src.is_ipv4() { 20 } else { 40 };
    let mut body = vec![0, 0, 5, 0];
    body.extend_from_slice(&quoted.0[14..14 + header + 8]);
    icmp(link, src, dst, kind, &body)
}

/// A protocol that is neither TCP, UDP nor ICMP.
#[must_use]
pub fn other_protocol(link: Link, src: IpAddr, dst: IpAddr, protocol: u8) -> Frame {
    let mut bytes = Vec::new();
    ip(link, src, dst).write(&mut bytes, IpNumber(protocol), &[0; 16]).expect("a vector takes all");
    Frame(bytes)
}

#[must_use]
pub fn arp() -> Frame {
    let mut bytes = [[0xff; 6], CLIENT_MAC].concat();
    bytes.extend_from_slice(&EtherType::ARP.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend_from_slice(&[0; 20]);
    Frame(bytes)
}

/// Of ARP for IPv4 by that operation: 1 asks, 2 answers.
#[must_use]
pub fn arp_about(operation: u16, from: Ipv4Addr, target: Ipv4Addr) -> Frame {
    let (from, target) = (from.octets(), target.octets());
    let addresses = [&CLIENT_MAC[..], &from, &[0; 6], &target].concat();
    arp().patch(20, &operation.to_be_bytes()).patch(22, &addresses)
}

/// A neighbour solicitation for `target`, without options.
#[must_use]
pub fn solicitation(link: Link, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr) -> Frame {
    let body = [&[0; 4][..], &target.octets()].concat();
    icmp(Link { ttl: 255, ..link }, src.into(), dst.into(), [135, 0], &body)
}

impl Frame {
    /// With other bytes at `offset`. Checksums are left as they were.
    #[must_use]
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }

    /// With bytes after the packet, as short Ethernet frames are padded.
    #[must_use]
    pub fn padded(mut self, length: usize) -> Self {
        self.0.resize(length, 0);
        self
    }

    /// With one more VLAN tag in front.
    #[must_use]
    pub fn tagged(mut self, tpid: u16, id: u16) -> Self {
        let tag = [tpid.to_be_bytes(), id.to_be_bytes()].concat();
        self.0.splice(12..12, tag);
        self
    }

    /// Every checksum in the frame is right, by a library that is not ours.
    pub fn verify(&self) -> Result<(), String> {
        if self.is_later_v6_fragment() {
            // The library takes its data for headers, and there is no checksum in it.
            return Ok(());
        }
        let packet = SlicedPacket::from_ethernet(&self.0).map_err(|e: SliceError| e.to_string())?;
        let net = packet.net.as_ref().ok_or("no IP")?;
        if let Some(ip) = net.ipv4_ref() {
            let header = ip.header().to_header();
            if header.calc_header_checksum() != header.header_checksum {
                return Err("IPv4 header checksum".into());
            }
        }
        if let Some(inner) = self.inner(TUNNEL_PORT) {
            if packet.transport.is_some() {
                transport(net, net.ip_payload_ref().ok_or("no IP")?, &packet.transport)?;
            }
            return inner.verify();
        }
        let payload = net.ip_payload_ref().ok_or("no IP")?;
        // A part of a transport checksum says nothing.
        if payload.fragmented { Ok(()) } else { transport(net, payload, &packet.transport) }
    }
}

fn transport(
    net: &NetSlice,
    payload: &IpPayloadSlice,
    transport: &Option<TransportSlice>,
) -> Result<(), String> {
    let bare_udp = matches!(transport, Some(TransportSlice::Udp(udp)) if udp.checksum() == 0);
    let pseudo = match transport {
        Some(TransportSlice::Icmpv4(_)) => false,
        Some(_) => true,
        None => return Err("no transport header".into()),
    };
    if bare_udp || sum(net, payload, pseudo) == 0xffff {
        Ok(())
    } else {
        Err("transport checksum".into())
    }
}

/// The plain sum of RFC 1071 over transport header, payload and, if wanted, pseudo header.
fn sum(net: &NetSlice, payload: &IpPayloadSlice, pseudo: bool) -> u16 {
    let mut bytes = payload.payload.to_vec();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    if pseudo {
        match net {
            NetSlice::Ipv4(ip) => {
                bytes
                    .extend_from_slice(&[ip.header().source(), ip.header().destination()].concat());
            }
            NetSlice::Ipv6(ip) => {
                bytes
                    .extend_from_slice(&[ip.header().source(), ip.header().destination()].concat());
            }
            NetSlice::Arp(_) => {}
        }
        bytes.extend_from_slice(&(payload.payload.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, payload.ip_number.0]);
    }
    let mut total: u32 =
        bytes.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (line, bytes) in self.0.chunks(16).enumerate() {
            write!(f, "\n  {:04x} ", line * 16)?;
            for byte in bytes {
                write!(f, " {byte:02x}")?;
            }
        }
        Ok(())
    }
}
