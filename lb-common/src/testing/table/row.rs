//! The words that rows are written in: a row, the ends of one family, and links.

use std::net::{IpAddr, SocketAddr};

use crate::testing::{
    frames::{CLIENT_MAC, Frame, Link, OUR_MAC},
    world::{self, BACKEND_MAC, BACKEND_SIDE, SOURCE_MAC},
};
use crate::{
    abi::status,
    context::verdict::{Reason, Verdict},
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
    /// What the backends of [`world::members::falling`] are, before the frame.
    pub falling: u32,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, frame: Frame, verdict: Verdict) -> Self {
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

    pub(crate) fn pass(name: impl Into<String>, frame: Frame) -> Self {
        Self::new(name, frame, Verdict::Pass)
    }

    pub(crate) fn drop(name: impl Into<String>, frame: Frame, reason: Reason) -> Self {
        Self::new(name, frame, Verdict::Drop(reason))
    }

    pub(crate) fn after(mut self, before: impl IntoIterator<Item = Frame>) -> Self {
        self.before.extend(before);
        self
    }

    pub(crate) fn out(mut self, frame: Frame) -> Self {
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

    /// The same with fragments of other packets, so that those of another row are not taken for
    /// them.
    #[must_use]
    pub fn apart(mut self, number: u16) -> Self {
        self.before = self.before.into_iter().map(|frame| frame.renumbered(number)).collect();
        self.frame = self.frame.renumbered(number);
        self
    }

    pub(crate) fn out_unverified(self, frame: Frame) -> Self {
        Self { verified: false, ..self.out(frame) }
    }

    pub(crate) fn fallen(mut self) -> Self {
        self.falling = status::GONE;
        self
    }

    pub(crate) fn leaving(mut self) -> Self {
        self.falling = status::LEAVING;
        self
    }

    pub(crate) fn live(mut self, flows: u64) -> Self {
        self.live = Some(flows);
        self
    }
}

/// The addresses of one family, and the frames between them.
pub(crate) struct Ends {
    pub(crate) name: &'static str,
    pub(crate) client: IpAddr,
    pub(crate) tagged_client: IpAddr,
    pub(crate) vip: IpAddr,
    pub(crate) silent: IpAddr,
    pub(crate) source: IpAddr,
    pub(crate) second_source: IpAddr,
    pub(crate) backend: IpAddr,
    pub(crate) double_client: IpAddr,
    pub(crate) double_source: IpAddr,
    pub(crate) double_backend: IpAddr,
    pub(crate) vlan_source: IpAddr,
    pub(crate) vlan_backend: IpAddr,
    pub(crate) stranger: IpAddr,
}

pub(crate) const CLIENT_PORT: u16 = 40000;
/// To the backends, by way of an interface that is not the one frames come in by.
pub(crate) const TO_BACKEND: Verdict = Verdict::Steer { ifindex: BACKEND_SIDE, vlan: 0 };
/// Back the way the client's frame came.
pub(crate) const TO_CLIENT: Verdict = Verdict::Steer { ifindex: 1, vlan: 0 };

impl Ends {
    pub(crate) fn new(family: usize) -> Self {
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

    pub(crate) fn title(&self, text: &str) -> String {
        format!("{}: {text}", self.name)
    }

    pub(crate) fn client(&self) -> SocketAddr {
        SocketAddr::new(self.client, CLIENT_PORT)
    }

    pub(crate) fn tagged_client(&self) -> SocketAddr {
        SocketAddr::new(self.tagged_client, CLIENT_PORT)
    }

    pub(crate) fn vip(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.vip, port)
    }

    pub(crate) fn backend(&self) -> SocketAddr {
        SocketAddr::new(self.backend, world::BACKEND_PORT)
    }

    pub(crate) fn vlan_backend(&self) -> SocketAddr {
        SocketAddr::new(self.vlan_backend, world::BACKEND_PORT)
    }

    pub(crate) fn vlan_source(&self) -> SocketAddr {
        SocketAddr::new(self.vlan_source, world::FIRST_SOURCE_PORT)
    }

    /// Our end towards the backend of the `nth` flow, from 0.
    pub(crate) fn source(&self, nth: u16) -> SocketAddr {
        SocketAddr::new(self.source, world::FIRST_SOURCE_PORT + nth)
    }
}

/// A frame from the backend to us.
pub(crate) fn from_backend() -> Link {
    Link { src_mac: BACKEND_MAC, dst_mac: SOURCE_MAC, ..Link::default() }
}

/// A frame from us to the backend, one hop later.
pub(crate) fn to_backend() -> Link {
    Link { src_mac: SOURCE_MAC, dst_mac: BACKEND_MAC, vlan: None, ttl: 63 }
}

/// A frame from us to the client, one hop later.
pub(crate) fn to_client() -> Link {
    Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, vlan: None, ttl: 63 }
}

pub(crate) fn ttl(ttl: u8) -> Link {
    Link { ttl, ..Link::default() }
}

pub(crate) fn tagged(id: u16) -> Link {
    Link { vlan: Some(id), ..Link::default() }
}
