//! Sends packets to a server as the kernel program does, and receives the answers.

use std::{
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

/// The encapsulation of packets to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// A frame to this MAC address, by the interface of this index.
    Frame { interface: u32, address: [u8; 6] },
    /// An IP packet from this address.
    Ip { source: IpAddr },
    /// A UDP datagram to this port.
    Udp { port: u16 },
}

/// TTL and hop limit of outer headers, as in the kernel program.
const TTL: u8 = 64;
/// The longest packet that a receiving host may have reassembled.
const LONGEST: usize = 64 * 1024;

/// The sockets for one connection's packets.
pub(super) struct PacketSocket {
    out: Socket,
    to: SockAddr,
    /// The outer header, without its length.
    outer: Vec<u8>,
    back: AsyncFd<Socket>,
    /// Reserves the port: the host assigns it to nobody else meanwhile.
    _port: Socket,
}

impl PacketSocket {
    /// Opens the sockets for a connection from a free port of the local address `source` to `vip`
    /// on `server`. Also returns that port.
    pub(super) fn open(
        source: IpAddr,
        vip: SocketAddr,
        server: IpAddr,
        wrap: Encapsulation,
    ) -> io::Result<(Self, SocketAddr)> {
        let family = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let port = Socket::new(family, Type::STREAM, None)?;
        port.bind(&SocketAddr::new(source, 0).into())?;
        let ours = port.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        // SAFETY: a socket keeps its descriptor until it is dropped, and nobody takes it out.
        let back = unsafe { AsyncFd::register(listen(vip, ours)?) }?;
        let (out, to, outer) = send(vip.ip(), server, wrap)?;
        out.set_nonblocking(true)?;
        Ok((Self { out, to, outer, back, _port: port }, ours))
    }

    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        let sent = if self.outer.is_empty() {
            self.out.send_to(packet, &self.to)
        } else {
            let mut whole = [&self.outer[..], packet].concat();
            let length = whole.len();
            match whole[0] >> 4 {
                // The kernel computes the checksum.
                4 => whole[2..4].copy_from_slice(&(length as u16).to_be_bytes()),
                _ => whole[4..6].copy_from_slice(&((length - V6) as u16).to_be_bytes()),
            }
            self.out.send_to(&whole, &self.to)
        };
        match sent {
            // TCP retransmits it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let mut ready = self.back.readable().await?;
            if let Ok(read) = ready.try_io(|back| (&mut back.get_ref()).read(&mut buffer)) {
                buffer.truncate(read?);
                return Ok(buffer);
            }
        }
    }
}

const V6: usize = 40;

fn send(
    vip: IpAddr,
    server: IpAddr,
    wrap: Encapsulation,
) -> io::Result<(Socket, SockAddr, Vec<u8>)> {
    let family = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Ok(match wrap {
        Encapsulation::Frame { interface, address } => {
            let to = link(ethertype(vip), interface, address);
            (Socket::new(Domain::PACKET, Type::DGRAM, None)?, to, Vec::new())
        }
        Encapsulation::Ip { source } => {
            let raw = Socket::new(family, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
            let outer = header(source, server, vip);
            let outer = outer.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            (raw, SocketAddr::new(server, 0).into(), outer)
        }
        Encapsulation::Udp { port } => {
            let udp = Socket::new(family, Type::DGRAM, None)?;
            (udp, SocketAddr::new(server, port).into(), Vec::new())
        }
    })
}

/// Returns the outer header of IP in IP, without its length and checksum; `None` for mixed
/// families.
fn header(source: IpAddr, server: IpAddr, vip: IpAddr) -> Option<Vec<u8>> {
    const DONT_FRAGMENT: u8 = 0x40;
    let inside = if vip.is_ipv4() { 4 } else { 41 };
    match (source, server) {
        (IpAddr::V4(source), IpAddr::V4(server)) => {
            let fixed = [0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, TTL, inside, 0, 0];
            Some([&fixed[..], &source.octets(), &server.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(server)) => {
            let fixed = [0x60, 0, 0, 0, 0, 0, inside, TTL];
            Some([&fixed[..], &source.octets(), &server.octets()].concat())
        }
        _ => None,
    }
}

/// Opens a socket that receives packets from `vip` to `ours` before the host's stack drops them:
/// for the stack, a packet from an address of its own is forged.
fn listen(vip: SocketAddr, ours: SocketAddr) -> io::Result<Socket> {
    // It receives nothing until it is bound.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter(vip, ours))?;
    socket.bind(&link(ethertype(vip.ip()), 0, [0; 6]))?;
    Ok(socket)
}

fn ethertype(address: IpAddr) -> u16 {
    (if address.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 }) as u16
}

fn link(protocol: u16, interface: u32, address: [u8; 6]) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: it is a `sockaddr_*` of this platform.
    let link: &mut libc::sockaddr_ll = unsafe { storage.view_as() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_protocol = protocol.to_be();
    link.sll_ifindex = interface as i32;
    link.sll_halen = address.len() as u8;
    link.sll_addr[..address.len()].copy_from_slice(&address);
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: family and length match what was just filled in.
    unsafe { SockAddr::new(storage, length) }
}

/// Builds a classic BPF filter (Documentation/networking/filter.rst) for the segments of one
/// connection, without IPv4 options or IPv6 extension headers, which no TCP sends.
fn filter(from: SocketAddr, to: SocketAddr) -> Vec<SockFilter> {
    let (protocol, ports, mut wanted) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (9, 20, words_v4(12, [from, to])),
        (IpAddr::V6(from), IpAddr::V6(to)) => (6, V6 as u32, words_v6(8, [from, to])),
        _ => return vec![SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0)],
    };
    wanted.push((libc::BPF_B, protocol, libc::IPPROTO_TCP as u32));
    wanted.push((libc::BPF_H, ports, from.port().into()));
    wanted.push((libc::BPF_H, ports + 2, to.port().into()));
    let count = wanted.len();
    let mut program = Vec::with_capacity(2 * count + 2);
    for (index, (size, offset, value)) in wanted.into_iter().enumerate() {
        let load = code(libc::BPF_LD | libc::BPF_ABS | size);
        program.push(SockFilter::new(load, 0, 0, offset));
        // Jumps to the last instruction, over the rest.
        let beyond = 2 * (count - index - 1) + 1;
        let compare = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
        program.push(SockFilter::new(compare, 0, beyond as u8, value));
    }
    program.push(SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX));
    program.push(SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0));
    program
}

type Wanted = (u32, u32, u32);

fn words_v4(offset: u32, addresses: [Ipv4Addr; 2]) -> Vec<Wanted> {
    let places = (offset..).step_by(4).zip(addresses);
    places.map(|(place, address)| (libc::BPF_W, place, address.to_bits())).collect()
}

fn words_v6(offset: u32, addresses: [Ipv6Addr; 2]) -> Vec<Wanted> {
    let bytes = addresses.map(|address| address.octets()).concat();
    let words =
        bytes.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    (offset..).step_by(4).zip(words).map(|(place, word)| (libc::BPF_W, place, word)).collect()
}

fn code(code: u32) -> u16 {
    code as u16
}
