//! A connection to a server by the route of its clients' packets: to an announced address, in the
//! frame or the outer headers of the service's `forwarding`.
//!
//! A server that answers at its own address may lack the announced one, or the decapsulation:
//! clients would get no answer. So Katran, IPVS and Seesaw also check through the tunnel
//! (facebookincubator/katran#132, google/seesaw#25).

mod stack;
mod wire;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split},
    select, time,
};

use self::stack::TcpStack;
pub use self::wire::Encapsulation;
use self::wire::PacketSocket;
use crate::service::Forwarding;

/// Bytes buffered between the check and its connection.
const PIPE: usize = 16 * 1024;

/// The source address and the encapsulation of packets to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelRoute {
    /// A local address, of the announced address's family, that the server answers to.
    pub source: IpAddr,
    pub wrap: Encapsulation,
}

/// Finds the route to a server for packets to an announced address, by the current routes and
/// neighbours. `None`: this host has no source address for such packets.
pub type RouteFinder = Arc<
    dyn Fn(IpAddr, IpAddr, Forwarding) -> BoxFuture<'static, io::Result<Option<TunnelRoute>>>
        + Send
        + Sync,
>;

/// A connection, from its first packet on. Dropping it resets it.
pub(super) struct Tunnel {
    stack: TcpStack,
    wire: PacketSocket,
    pub ends: [SocketAddr; 2],
}

impl Tunnel {
    /// Connects to `vip` at `server`.
    pub(super) async fn open(
        way: TunnelRoute,
        vip: SocketAddr,
        server: IpAddr,
    ) -> io::Result<Self> {
        let (wire, ours) = PacketSocket::open(way.source, vip, server, way.wrap)?;
        let ends = [ours, vip];
        let mut tunnel = Self { stack: TcpStack::connect(ends), wire, ends };
        while !tunnel.stack.is_connected()? {
            tunnel.wait().await?;
        }
        Ok(tunnel)
    }

    /// Returns the check's end of a pipe, and the end for [`carry`](Self::carry).
    pub(super) fn pipe() -> (DuplexStream, DuplexStream) {
        duplex(PIPE)
    }

    /// Sends what is due, and waits for a packet or the next timer.
    async fn wait(&mut self) -> io::Result<()> {
        self.stack.poll();
        self.flush()?;
        let delay = self.stack.delay();
        select! {
            packet = self.wire.receive() => self.stack.packets.come.push_back(packet?),
            () = time::sleep(delay) => {}
        }
        self.stack.poll();
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(packet) = self.stack.packets.go.pop_front() {
            self.wire.send(&packet)?;
        }
        Ok(())
    }

    /// Moves bytes between `pipe` and the connection until either ends.
    pub(super) async fn carry(&mut self, pipe: DuplexStream) -> io::Error {
        let (mut from, mut to) = split(pipe);
        let (mut sending, mut buffer) = (Vec::new(), vec![0; PIPE]);
        let (mut has_all, mut has_ended) = (false, false);
        loop {
            while let Ok(count @ 1..) = self.stack.socket().recv_slice(&mut buffer) {
                if let Err(error) = to.write_all(&buffer[..count]).await {
                    return error;
                }
            }
            if !has_ended && !self.stack.socket().may_recv() {
                has_ended = true;
                let _ = to.shutdown().await;
            }
            if let Ok(count) = self.stack.socket().send_slice(&sending) {
                sending.drain(..count);
            }
            let wants_more = sending.is_empty() && !has_all;
            let moved = select! {
                read = from.read_buf(&mut sending), if wants_more => {
                    read.map(|count| has_all = count == 0)
                }
                waited = self.wait() => waited,
            };
            if let Err(error) = moved {
                return error;
            }
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stack.abort();
        let _ = self.flush();
    }
}
