//! A TCP stack in user space, over packets that are handed in and out.
//!
//! The host's stack cannot be used: the announced addresses are its own, so it would connect to
//! itself.

use std::{collections::VecDeque, io, net::SocketAddr, time::Instant as Now};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, SocketBuffer, State},
    time::{Duration, Instant},
    wire::{HardwareAddress, IpCidr},
};

/// The longest packet without its outer headers: every IPv6 link carries it with the largest of
/// them, and with room to spare (RFC 8200, 5).
const MTU: usize = 1280;
const BUFFER: usize = 16 * 1024;

/// One connection.
pub(super) struct TcpStack {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    pub packets: Packets,
    began: Now,
}

/// Received packets, and packets to send.
#[derive(Default)]
pub(super) struct Packets {
    pub come: VecDeque<Vec<u8>>,
    pub go: VecDeque<Vec<u8>>,
}

impl TcpStack {
    /// Starts to connect from the first of `ends` to the second.
    pub(super) fn connect(ends: [SocketAddr; 2]) -> Self {
        let mut packets = Packets::default();
        let began = Now::now();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = fastrand::u64(..);
        let mut interface = Interface::new(config, &mut packets, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // All addresses are on the link.
            let _ = addresses.push(IpCidr::new(ends[0].ip().into(), 0));
        });
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut tcp = Socket::new(buffer(), buffer());
        tcp.set_nagle_enabled(false);
        tcp.set_ack_delay(None);
        tcp.connect(interface.context(), ends[1], ends[0])
            .expect("addresses of one family and ports");
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp);
        Self { interface, sockets, socket, packets, began }
    }

    /// Processes received packets, and makes those that are due.
    pub(super) fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.packets, &mut self.sockets);
    }

    /// Returns the time until [`poll`](Self::poll) has something to do by itself.
    pub(super) fn delay(&mut self) -> std::time::Duration {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets);
        delay.map_or(std::time::Duration::from_secs(1), Into::into)
    }

    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Returns whether the server has accepted.
    ///
    /// # Errors
    ///
    /// The server has refused.
    pub(super) fn is_connected(&mut self) -> io::Result<bool> {
        match self.socket().state() {
            State::SynSent | State::SynReceived => Ok(false),
            State::Closed => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => Ok(true),
        }
    }

    /// Ends the connection at once, by a reset.
    pub(super) fn abort(&mut self) {
        self.socket().abort();
        self.poll();
    }

    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from(self.began.elapsed())
    }
}

impl Device for Packets {
    type RxToken<'a> = RxPacket;
    type TxToken<'a> = TxPacket<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxPacket, TxPacket<'_>)> {
        let packet = self.come.pop_front()?;
        Some((RxPacket(packet), TxPacket(&mut self.go)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxPacket<'_>> {
        Some(TxPacket(&mut self.go))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // Received checksums were verified by the NIC, or the packets have not left their host:
        // then they are not computed.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities
    }
}

pub(super) struct RxPacket(Vec<u8>);

impl RxToken for RxPacket {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

pub(super) struct TxPacket<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for TxPacket<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, make: F) -> R {
        let mut packet = vec![0; length];
        let made = make(&mut packet);
        self.0.push_back(packet);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_goes_out_and_a_reset_is_a_refusal() {
        for ends in [["10.0.0.1:4000", "203.0.113.1:80"], ["[fd00::1]:4000", "[2001:db8::1]:80"]] {
            let ends = ends.map(|end| end.parse::<SocketAddr>().unwrap());
            let mut stack = TcpStack::connect(ends);
            stack.poll();
            let syn = stack.packets.go.pop_front().unwrap();
            assert!(!stack.is_connected().unwrap());
            // The answer: a reset with its acknowledgement.
            let (l3, addresses, length) = if ends[0].is_ipv4() { (20, 12, 4) } else { (40, 8, 16) };
            let mut reset = syn.clone();
            for byte in 0..length {
                reset.swap(addresses + byte, addresses + length + byte);
            }
            reset.swap(l3, l3 + 2);
            reset.swap(l3 + 1, l3 + 3);
            let sequence = u32::from_be_bytes(syn[l3 + 4..l3 + 8].try_into().unwrap());
            reset[l3 + 8..l3 + 12].copy_from_slice(&(sequence + 1).to_be_bytes());
            reset[l3 + 13] = 0x14;
            stack.packets.come.push_back(reset);
            stack.poll();
            let refused = stack.is_connected().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
