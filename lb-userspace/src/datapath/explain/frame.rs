//! Builds frames to explain, from addresses and ports, and parses what the program returns.

use std::net::{IpAddr, SocketAddr};

use lb_common::parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, TCP, UDP};

/// A packet to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFrame {
    pub from: SocketAddr,
    /// The destination, of the same family.
    pub to: SocketAddr,
    /// IP protocol number: TCP, UDP, or ICMP of either family for an echo request.
    pub protocol: u32,
    /// `lb_common::parse::tcp_flags`.
    pub flags: u32,
    /// The size of the IP packet in bytes. If it is smaller than the headers, there is no payload.
    pub size: usize,
}

/// Locally administered addresses, which no device has.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const TTL: u8 = 64;

impl ProbeFrame {
    /// Builds the Ethernet frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut frame = MACS.to_vec();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                frame.extend(ETHERTYPE_IPV4.to_be_bytes());
                let length = (20 + transport.len()) as u16;
                let mut ip = vec![0x45, 0];
                ip.extend(length.to_be_bytes());
                ip.extend([0, 0, 0x40, 0, TTL, self.protocol as u8, 0, 0]);
                ip.extend(src.octets());
                ip.extend(dst.octets());
                let sum = checksum(&ip, 0).to_be_bytes();
                ip[10..12].copy_from_slice(&sum);
                frame.extend(ip);
            }
            (src, dst) => {
                let v6 = |ip: IpAddr| match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                frame.extend(ETHERTYPE_IPV6.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend((transport.len() as u16).to_be_bytes());
                frame.extend([self.protocol as u8, TTL]);
                frame.extend(v6(src));
                frame.extend(v6(dst));
            }
        }
        frame.extend(transport);
        frame
    }

    /// Builds the TCP segment, UDP datagram or echo request, with its checksum and a payload of
    /// zeros.
    fn transport(&self) -> Vec<u8> {
        let ip = if self.from.is_ipv4() { 20 } else { 40 };
        let header = if self.protocol == TCP { 20 } else { 8 };
        let length = self.size.saturating_sub(ip).max(header);
        let mut bytes = vec![0; length];
        bytes[..2].copy_from_slice(&self.from.port().to_be_bytes());
        bytes[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        let place = match self.protocol {
            TCP => {
                bytes[12..16].copy_from_slice(&[5 << 4, self.flags as u8, 0xff, 0xff]);
                16
            }
            UDP => {
                bytes[4..6].copy_from_slice(&(length as u16).to_be_bytes());
                6
            }
            protocol => {
                let kind = if protocol == ICMP { 8 } else { 128 };
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
                2
            }
        };
        let pseudo = if self.protocol == ICMP { 0 } else { self.pseudo_header(length) };
        let sum = checksum(&bytes, pseudo).to_be_bytes();
        bytes[place..place + 2].copy_from_slice(&sum);
        bytes
    }

    fn pseudo_header(&self, length: usize) -> u32 {
        let words = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => sum(&v4.octets()),
            IpAddr::V6(v6) => sum(&v6.octets()),
        };
        words(self.from.ip()) + words(self.to.ip()) + self.protocol + length as u32
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| match word {
        [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
        word => u32::from(word[0]) << 8,
    });
    words.sum()
}

/// Returns the Internet checksum (RFC 1071).
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = sum(bytes) + start;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The addresses of a frame that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedFrame {
    /// The source. Ports are 0 if the outermost packet has none, as in tunnels.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub protocol: u32,
    /// The next hop's link-layer address.
    pub mac: [u8; 6],
}

impl ForwardedFrame {
    /// Parses a frame; `None` if it contains no IP packet.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        const TAGS: [u16; 2] = [0x8100, 0x88a8];
        let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
        let mut kind = 12;
        while TAGS.contains(&word(kind)?) {
            kind += 4;
        }
        let ip = frame.get(kind + 2..)?;
        let (src, dst, protocol, l4) = match word(kind)? {
            ETHERTYPE_IPV4 => {
                let address = |at: usize| <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok();
                let length = usize::from(ip.first()? & 15) * 4;
                (address(12)?.into(), address(16)?.into(), *ip.get(9)?, length)
            }
            ETHERTYPE_IPV6 => {
                let address = |at: usize| <[u8; 16]>::try_from(ip.get(at..at + 16)?).ok();
                (IpAddr::from(address(8)?), IpAddr::from(address(24)?), *ip.get(6)?, 40)
            }
            _ => return None,
        };
        let protocol = u32::from(protocol);
        let port = |at: usize| {
            let ports = matches!(protocol, TCP | UDP);
            if ports { word(kind + 2 + at) } else { Some(0) }
        };
        Some(Self {
            from: SocketAddr::new(src, port(l4)?),
            to: SocketAddr::new(dst, port(l4 + 2)?),
            protocol,
            mac: frame.get(..6)?.try_into().ok()?,
        })
    }
}

/// Returns the IP protocol of an echo request in this address family.
#[must_use]
pub const fn echo(from: &SocketAddr) -> u32 {
    if from.is_ipv4() { ICMP } else { ICMPV6 }
}

#[cfg(test)]
mod tests {
    use lb_common::{
        abi::FlowKey,
        packet::Packet,
        parse::{Headers, Kind, parse, tcp_flags},
    };

    use super::*;

    struct Bytes(Vec<u8>);

    // SAFETY: the vector's bytes are not shared; allocations are aligned to more than two bytes.
    unsafe impl Packet for Bytes {
        fn bounds(&self) -> (usize, usize) {
            let range = self.0.as_ptr_range();
            (range.start as usize, range.end as usize)
        }

        fn sum<const LENGTH: usize>(&self, _: usize) -> Option<u64> {
            None
        }

        fn adjust_head(&mut self, _: i32) -> bool {
            false
        }

        fn adjust_tail(&mut self, _: i32) -> bool {
            false
        }
    }

    #[test]
    fn the_packet_path_reads_what_is_built() {
        for (from, to) in
            [("198.51.100.7:4000", "203.0.113.1:80"), ("[2001:db8::7]:4000", "[2001:db8::1]:80")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for (protocol, expected) in
                [(TCP, Kind::Segment), (UDP, Kind::Segment), (echo(&from), Kind::Message)]
            {
                let probe = ProbeFrame { from, to, protocol, flags: tcp_flags::SYN, size: 0 };
                let frame = probe.frame();
                let (mut key, mut headers) = (FlowKey::unread(), Headers::unread());
                let kind = parse(&Bytes(frame.clone()), &mut key, &mut headers);
                assert_eq!(kind, Ok(expected), "{from} {protocol}");
                let leaving = ForwardedFrame::read(&frame).expect("an IP packet");
                assert_eq!((leaving.from.ip(), leaving.to.ip()), (from.ip(), to.ip()));
                if expected == Kind::Segment {
                    assert_eq!((leaving.from, leaving.to), (from, to));
                    assert_eq!(u16::from_be_bytes(key.dst_port), 80);
                }
                let large = ProbeFrame { size: 1200, ..probe };
                assert_eq!(large.frame().len(), 14 + 1200);
            }
        }
    }
}
