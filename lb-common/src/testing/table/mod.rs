//! The table: a frame, what came before it, and what must become of it. It runs on the host
//! against `balance` over a [`Model`](super::Model) and, through `BPF_PROG_TEST_RUN`, against the
//! loaded object over maps of the same content.

mod attack;
mod double_tags;
mod fragments;
mod icmp;
mod limits;
mod malformed;
mod modes;
mod odd;
mod passing;
mod quic;
mod ranges;
mod steering;
mod sums;
mod unknown;

use std::net::{IpAddr, SocketAddr};

use super::{
    frames::{CLIENT_MAC, Frame, Link, OUR_MAC},
    world::{self, BACKEND_MAC, BACKEND_SIDE, SOURCE_MAC},
};
use crate::{
    abi::status,
    verdict::{Reason, Verdict},
};

pub struct Row {
    pub name: String,
    /// Frames that arrive first; what becomes of them is other rows' matter.
    pub before: Vec<Frame>,
    pub frame: Frame,
    pub verdict: Verdict,
    /// The frame as it leaves. `None`: as it came, or dropped.
    pub out: Option<Frame>,
    /// Whether `out` has checksums that a receiver would take: not if it carries what came spoilt.
    pub verified: bool,
    /// The backend's live flows afterwards.
    pub live: Option<u64>,
    /// What the backends of [`world::limits::falling`] are, before the frame.
    pub falling: u32,
}

impl Row {
    fn new(name: impl Into<String>, frame: Frame, verdict: Verdict) -> Self {
        Self {
            name: name.into(),
            before: Vec::new(),
            frame,
            verdict,
            out: None,
            verified: true,
            live: None,
            falling: status::HERE,
        }
    }

    fn pass(name: impl Into<String>, frame: Frame) -> Self {
        Self::new(name, frame, Verdict::Pass)
    }

    fn drop(name: impl Into<String>, frame: Frame, reason: Reason) -> Self {
        Self::new(name, frame, Verdict::Drop(reason))
    }

    fn after(mut self, before: impl IntoIterator<Item = Frame>) -> Self {
        self.before.extend(before);
        self
    }

    fn out(mut self, frame: Frame) -> Self {
        self.out = Some(frame);
        self
    }

    /// Whether a frame is what this row wants to leave. The identification of fragments that were
    /// rewritten is as good as any.
    #[must_use]
    pub fn wants(&self, out: &Frame) -> bool {
        let wanted = self.out.as_ref().map(|wanted| wanted.clone().numbered_as(out));
        wanted.as_ref().unwrap_or(&self.frame) == out
    }

    /// The same with fragments of other packets, so that those of another row are not taken for them.
    #[must_use]
    pub fn apart(mut self, number: u16) -> Self {
        self.before = self.before.into_iter().map(|frame| frame.renumbered(number)).collect();
        self.frame = self.frame.renumbered(number);
        self
    }

    fn out_unverified(self, frame: Frame) -> Self {
        Self { verified: false, ..self.out(frame) }
    }

    fn fallen(mut self) -> Self {
        self.falling = status::GONE;
        self
    }

    fn leaving(mut self) -> Self {
        self.falling = status::LEAVING;
        self
    }

    fn live(mut self, flows: u64) -> Self {
        self.live = Some(flows);
        self
    }
}

#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for ends in [Ends::new(0), Ends::new(1)] {
        steering::add(&mut rows, &ends);
        limits::add(&mut rows, &ends);
        passing::add(&mut rows, &ends);
        icmp::add(&mut rows, &ends);
        malformed::add(&mut rows, &ends);
        attack::add(&mut rows, &ends);
        fragments::add(&mut rows, &ends);
        odd::add(&mut rows, &ends);
        double_tags::add(&mut rows, &ends);
        ranges::add(&mut rows, &ends);
        quic::add(&mut rows, &ends);
        sums::add(&mut rows, &ends);
        modes::add(&mut rows, &ends);
        unknown::add(&mut rows, &ends);
    }
    passing::add_not_ip(&mut rows);
    malformed::add_v4(&mut rows, &Ends::new(0));
    malformed::add_v6(&mut rows, &Ends::new(1));
    rows
}

/// The addresses of one family, and the frames between them.
struct Ends {
    name: &'static str,
    client: IpAddr,
    tagged_client: IpAddr,
    vip: IpAddr,
    silent: IpAddr,
    source: IpAddr,
    second_source: IpAddr,
    backend: IpAddr,
    double_client: IpAddr,
    double_source: IpAddr,
    double_backend: IpAddr,
    vlan_source: IpAddr,
    vlan_backend: IpAddr,
    stranger: IpAddr,
}

const CLIENT_PORT: u16 = 40000;
/// To the backends, by way of an interface that is not the one frames come in by.
const TO_BACKEND: Verdict = Verdict::Steer { ifindex: BACKEND_SIDE, vlan: 0 };
/// Back the way the client's frame came.
const TO_CLIENT: Verdict = Verdict::Steer { ifindex: 1, vlan: 0 };

impl Ends {
    fn new(family: usize) -> Self {
        Self {
            name: ["v4", "v6"][family],
            client: world::ip(world::CLIENTS[family]),
            tagged_client: world::ip(world::TAGGED_CLIENTS[family]),
            vip: world::ip(world::VIPS[family]),
            silent: world::ip(world::SILENT_VIPS[family]),
            source: world::ip(world::SOURCES[family]),
            second_source: world::ip(world::SECOND_SOURCES[family]),
            backend: world::ip(world::BACKENDS[family]),
            double_client: world::ip(world::DOUBLE_CLIENTS[family]),
            double_source: world::ip(world::DOUBLE_SOURCES[family]),
            double_backend: world::ip(world::DOUBLE_BACKENDS[family]),
            vlan_source: world::ip(world::VLAN_SOURCES[family]),
            vlan_backend: world::ip(world::VLAN_BACKENDS[family]),
            stranger: world::ip(world::STRANGERS[family]),
        }
    }

    fn title(&self, text: &str) -> String {
        format!("{}: {text}", self.name)
    }

    fn client(&self) -> SocketAddr {
        SocketAddr::new(self.client, CLIENT_PORT)
    }

    fn tagged_client(&self) -> SocketAddr {
        SocketAddr::new(self.tagged_client, CLIENT_PORT)
    }

    fn vip(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip, port)
    }

    fn backend(&self) -> SocketAddr {
        SocketAddr::new(self.backend, world::BACKEND_PORT)
    }

    fn vlan_backend(&self) -> SocketAddr {
        SocketAddr::new(self.vlan_backend, world::BACKEND_PORT)
    }

    fn vlan_source(&self) -> SocketAddr {
        SocketAddr::new(self.vlan_source, world::FIRST_SOURCE_PORT)
    }

    /// Our end towards the backend of the `nth` flow, from 0.
    fn source(&self, nth: u16) -> SocketAddr {
        SocketAddr::new(self.source, world::FIRST_SOURCE_PORT + nth)
    }
}

/// A frame from the backend to us.
fn from_backend() -> Link {
    Link { src_mac: BACKEND_MAC, dst_mac: SOURCE_MAC, ..Link::default() }
}

/// A frame from us to the backend, one hop later.
fn to_backend() -> Link {
    Link { src_mac: SOURCE_MAC, dst_mac: BACKEND_MAC, vlan: None, ttl: 63 }
}

/// A frame from us to the client, one hop later.
fn to_client() -> Link {
    Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, vlan: None, ttl: 63 }
}

fn ttl(ttl: u8) -> Link {
    Link { ttl, ..Link::default() }
}

fn tagged(id: u16) -> Link {
    Link { vlan: Some(id), ..Link::default() }
}
