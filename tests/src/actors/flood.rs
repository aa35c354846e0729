//! SYNs from addresses that nobody has.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use lb_common::testing::frames::{Link, tcp};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::topology::Lab;

/// Bytes of the Ethernet header, which a raw socket does not want.
const LINK: usize = 14;

/// A sender in the client's namespace, at a steady rate until it is stopped.
pub struct Flood {
    progress: Arc<Progress>,
    sender: JoinHandle<Result<()>>,
    begun: Instant,
}

#[derive(Default)]
struct Progress {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// What was sent, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub packets: u64,
    pub took: Duration,
}

impl Flood {
    /// `rate` a second, in turn to all of `to`.
    pub fn start(lab: &Lab, to: &[SocketAddr], rate: u64) -> Result<Self> {
        // A protocol of 255 means that the header comes from us: raw(7), ipv6(7).
        let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(255)));
        let sockets = lab.client.within(|| Ok([raw(Domain::IPV4)?, raw(Domain::IPV6)?]));
        let sockets: std::io::Result<[Socket; 2]> = sockets?;
        let sockets = sockets.context("a raw socket (this needs root)")?;
        let progress = Arc::<Progress>::default();
        let (its, to) = (progress.clone(), to.to_vec());
        let sender = thread::spawn(move || send(&sockets, &to, rate, &its));
        Ok(Self { progress, sender, begun: Instant::now() })
    }

    /// How many so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Relaxed)
    }

    pub fn stop(self) -> Result<Sent> {
        self.progress.stop.store(true, Relaxed);
        let took = self.begun.elapsed();
        let packets = self.sent();
        self.sender.join().map_err(|_| anyhow!("the sender panicked"))??;
        Ok(Sent { packets, took })
    }
}

fn send(sockets: &[Socket; 2], to: &[SocketAddr], rate: u64, progress: &Progress) -> Result<()> {
    let begun = Instant::now();
    let is_over = || progress.stop.load(Relaxed);
    let mut sent = 0;
    while !is_over() {
        let due = begun.elapsed().as_millis() as u64 * rate / 1000;
        while sent < due && !is_over() {
            let to = to[sent as usize % to.len()];
            let frame = tcp(Link::default(), forged(to, sent), to, "S", b"");
            let socket = &sockets[usize::from(to.is_ipv6())];
            // IPv6's raw sockets want no port (raw_ipv6 in net/ipv6/raw.c).
            let address = SocketAddr::new(to.ip(), 0).into();
            socket.send_to(&frame.0[LINK..], &address).context("sending a SYN")?;
            sent += 1;
            progress.sent.store(sent, Relaxed);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Another source each time, over networks that nobody in a lab is in (RFC 6598, RFC 9637).
fn forged(to: SocketAddr, number: u64) -> SocketAddr {
    // Weyl's sequence: all different for long, and no two alike in a row.
    let bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let port = 1024 + (bits >> 40) as u16 % 60_000;
    let address: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::from_bits(0x6440_0000 | (bits >> 42) as u32).into(),
        SocketAddr::V6(_) => Ipv6Addr::from_bits(0x3fff << 112 | u128::from(bits) << 48 | 1).into(),
    };
    SocketAddr::new(address, port)
}
