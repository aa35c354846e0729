//! The configuration of ports without handlers, which the kernel steers.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use super::{names::name_of, strategy::Strategy};

/// How the kernel handles the packets of a service. The proxy sees none of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    pub forwarding: Forwarding,
    /// How the backend of a new flow is chosen.
    pub strategy: Strategy,
    /// The longest packet towards a backend in bytes, with all headers from the outermost IP header
    /// on. `None`: the route's MTU.
    pub mtu: Option<u16>,
    pub mss_clamp: MssClamp,
    /// New flows of a source go to the backend of its last one.
    pub affinity: Option<Affinity>,
    pub limits: Limits,
    pub on_backend_down: OnBackendDown,
    /// How long flows of a draining backend may go on. `None`: until they end.
    pub drain_deadline: Option<Duration>,
    /// The node's, unless the service sets its own.
    pub flow_timeouts: FlowTimeouts,
    pub unknown_flows: UnknownFlows,
    pub quic: Option<Quic>,
    pub syn_flood: Option<SynFlood>,
    pub rate_limits: RateLimits,
    pub access: Access,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            forwarding: Forwarding::Nat,
            strategy: Strategy::Maglev,
            mtu: None,
            mss_clamp: MssClamp::Off,
            affinity: None,
            limits: Limits::default(),
            on_backend_down: OnBackendDown::Reset,
            drain_deadline: None,
            flow_timeouts: FlowTimeouts::default(),
            unknown_flows: UnknownFlows::Reset,
            quic: None,
            syn_flood: None,
            rate_limits: RateLimits::default(),
            access: Access::default(),
        }
    }
}

/// How a steered packet reaches its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// Both directions pass through us; addresses are rewritten both ways.
    #[default]
    Nat,
    /// Only MAC addresses change; the backend answers the client itself. Same link, same port.
    L2,
    /// IP in IP (RFC 2003, RFC 2473); the backend answers the client itself.
    Ipip,
    /// Generic UDP Encapsulation (draft-ietf-intarea-gue, variant 1: bare IP in UDP); the backend
    /// answers the client itself.
    Gue,
}

impl Forwarding {
    /// All modes with their names in the configuration.
    pub const NAMED: [(&str, Self); 4] =
        [("nat", Self::Nat), ("l2", Self::L2), ("ipip", Self::Ipip), ("gue", Self::Gue)];

    /// Returns its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        name_of(self, &Self::NAMED)
    }

    /// Returns whether the packet keeps its addresses and ports, so that the backend answers the
    /// client directly.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        !matches!(self, Self::Nat)
    }

    /// Returns whether the packet is encapsulated.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Returns the bytes that it adds to a packet towards an IPv4 or IPv6 backend.
    #[must_use]
    pub const fn overhead(self, to_ipv4: bool) -> u16 {
        let ip = if to_ipv4 { 20 } else { 40 };
        match self {
            Self::Nat | Self::L2 => 0,
            Self::Ipip => ip,
            Self::Gue => ip + 8,
        }
    }
}

/// Whether the maximum segment size in a SYN is lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    #[default]
    Off,
    /// To what fits the MTU.
    ToMtu,
    /// To at most so many bytes.
    To(u16),
}

/// How sources are grouped, and how long they are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// After its last new flow. Default 10 min.
    pub timeout: Duration,
    pub source: SourcePrefix,
}

/// The number of address bits that identify a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePrefix {
    /// 0 to 32.
    pub v4: u8,
    /// 0 to 128.
    pub v6: u8,
}

/// Limits of live connections of one backend, on both paths and for all services that share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Over it, other backends are preferred. `None`: unlimited.
    pub soft: Option<u32>,
    /// At it, the backend gets nothing new. `None`: unlimited.
    pub hard: Option<u32>,
}

/// What happens to the TCP flows of a backend that is down. UDP flows always move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBackendDown {
    /// The client's next packet is answered with RST.
    #[default]
    Reset,
    /// The next packet goes to another backend, which must know the connection.
    Move,
}

/// What happens to a TCP segment of an unknown established flow, in services of `nat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFlows {
    /// Its sender is answered with RST.
    #[default]
    Reset,
    /// It is dropped.
    Drop,
}

/// How long a steered flow may be idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// TCP before the handshake is complete. Default 30 s.
    pub half_open: Duration,
    /// TCP after it. Default 1 h.
    pub established: Duration,
    /// TCP after the FIN of one side: the answer may still be being made. Default 1 h; 2 min if
    /// backends answer directly, because then we do not see their FIN.
    pub closing: Duration,
    /// TCP after FIN both ways: how long its source port is reserved. Default 10 s.
    pub closed: Duration,
    /// TCP after a RST, which its receiver may have rejected: until then the flow can go on.
    /// Default 1 min.
    pub reset: Duration,
    /// UDP before the backend's first answer. Default 30 s.
    pub udp_unanswered: Duration,
    /// UDP after it, until the client sends more: a question and its answer. Default 10 s.
    pub udp_answered: Duration,
    /// UDP once the client has sent more. Default 60 s.
    pub udp: Duration,
}

impl Default for FlowTimeouts {
    fn default() -> Self {
        Self {
            half_open: Duration::from_secs(30),
            established: Duration::from_secs(3600),
            closing: Duration::from_secs(3600),
            closed: Duration::from_secs(10),
            reset: Duration::from_secs(60),
            udp_unanswered: Duration::from_secs(30),
            udp_answered: Duration::from_secs(10),
            udp: Duration::from_secs(60),
        }
    }
}

impl FlowTimeouts {
    /// Returns the defaults for services of that forwarding mode.
    #[must_use]
    pub fn usual(forwarding: Forwarding) -> Self {
        let closing = Duration::from_secs(120);
        let usual = Self::default();
        if forwarding.is_direct() { Self { closing, ..usual } } else { usual }
    }
}

/// QUIC connection IDs that contain the server id (draft-ietf-quic-load-balancers, plaintext): the
/// first byte, then the server id, then what the server chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// 1 to 15 bytes.
    pub server_id_length: u8,
}

/// When unknown sources are challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynFlood {
    /// New TCP flows of the service from unknown sources a second.
    pub threshold: u32,
    /// How long a source that passed stays known. Default 5 min.
    pub remember: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub per_source: Option<SourceRate>,
    pub per_service: Option<Rate>,
}

/// New flows, as a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second.
    pub rate: u32,
    /// The burst after an idle time. Default: `rate`.
    pub burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRate {
    pub rate: Rate,
    /// Default: whole IPv4 addresses, IPv6 /64.
    pub source: SourcePrefix,
}

/// Who may open flows. The longest matching prefix of a source decides; without a match it is
/// allowed, unless `allow` contains others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Without duplicates; disjoint from `deny`.
    pub allow: Arc<[IpNet]>,
    pub deny: Arc<[IpNet]>,
}

impl Access {
    /// Returns whether every source is allowed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}
