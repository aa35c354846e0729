//! The configuration beside the services: the node, the admin interface, certificates, timeouts.

use std::{
    collections::BTreeMap, net::IpAddr, ops::RangeInclusive, path::PathBuf, sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

pub use crate::interface::InterfacePattern;
use crate::service::Service;

pub use crate::service::{FlowTimeouts, UnknownFlows};

pub const DEFAULT_STATE_DIR: &str = "/run/lb";
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/lb";
/// The valid range of `maglev_table_size`: the smallest distinguishes a handful of servers, the
/// largest thousands.
pub const MAGLEV_SIZES: RangeInclusive<u32> = 251..=1 << 20;

/// A whole validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: Node,
    pub admin: Admin,
    pub certificates: Vec<CertificateSource>,
    pub proxy: ProxySettings,
    /// Names for several regions.
    pub regions: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    pub services: Vec<Arc<Service>>,
}

impl Config {
    #[must_use]
    pub fn geography(&self) -> Geography {
        Geography {
            local: self.node.region.clone(),
            nearby: self.node.nearby.clone(),
            groups: self.regions.clone(),
        }
    }
}

/// The distances of regions, as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geography {
    pub local: Option<Arc<str>>,
    /// The nearest first.
    pub nearby: Vec<Arc<str>>,
    pub groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Geography {
    /// Returns the rank of `region`'s distance; 0: here, or either place is unknown.
    #[must_use]
    pub fn rank(&self, region: Option<&str>) -> u16 {
        match (region, &self.local) {
            (None, _) | (_, None) => 0,
            (Some(region), Some(local)) if region == &**local => 0,
            (Some(region), Some(_)) => {
                let nearby = self.nearby.iter().position(|it| **it == *region);
                nearby.map_or(u16::MAX, |position| position as u16 + 1)
            }
        }
    }

    /// Returns whether `name` (of a region, of a group, or `any`) covers `region`.
    #[must_use]
    pub fn covers(&self, name: &str, region: Option<&str>) -> bool {
        let in_group = |region: &str| {
            self.groups.get(name).is_some_and(|group| group.iter().any(|it| **it == *region))
        };
        name == "any" || region.is_some_and(|region| region == name || in_group(region))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// `Fly-Region`, and the region of local backends.
    pub region: Option<Arc<str>>,
    /// Other regions, the nearest first; all others are farther.
    pub nearby: Vec<Arc<str>>,
    /// XDP is attached to all interfaces that match one of them. Never empty.
    pub interfaces: Vec<InterfacePattern>,
    pub xdp: XdpMode,
    /// Source ports of steered flows, disjoint from the host's ephemeral range. Default 2048–32767.
    pub source_ports: RangeInclusive<u16>,
    /// Source addresses of steered flows. Default: the address that routing would use.
    pub source_addresses: SourceAddresses,
    /// Room for this many established flows at a time. Default 262144; 450 to 900 bytes of kernel
    /// memory each, with the half-open ones and the index of answers.
    pub max_flows: u32,
    /// Slots of a maglev ring. Default: according to its servers, 8192 for a few and 32768 for
    /// more.
    pub maglev_table_size: Option<u32>,
    /// Room for TCP flows before their handshake is complete. Default: an eighth of
    /// `max_flows`, at least 1024.
    pub max_half_open: u32,
    /// Room for fragmented packets. Default 16384.
    pub max_fragments: u32,
    /// Room for sources that affinity remembers. Default 65536.
    pub max_affinities: u32,
    /// Room for sources under a rate limit or past a challenge. Default 65536.
    pub max_sources: u32,
    /// Defaults for services.
    pub flow_timeouts: FlowTimeouts,
    /// What happens to segments of unknown flows. Default: they are answered with RST.
    pub unknown_flows: UnknownFlows,
    pub encap: Encap,
    /// The undo journal of the host's settings, and the ids in use. Default [`DEFAULT_STATE_DIR`].
    pub state_dir: PathBuf,
    /// The directory in a bpffs where the data path is pinned. Default [`DEFAULT_PIN_DIR`].
    pub pin_dir: PathBuf,
    /// Proxy workers. `None`: one per core.
    pub workers: Option<usize>,
    /// Default [`Assigned`](AnswerNeighbours::Assigned).
    pub answer_neighbours: AnswerNeighbours,
    /// Reload when the configuration file has changed. Default true.
    pub watch_config: bool,
}

/// When this host answers ARP and neighbour discovery for announced addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerNeighbours {
    /// While an interface has the address.
    #[default]
    Assigned,
    /// Also if no interface has it.
    Always,
    /// Never. No interface should have the address; if one has, the kernel answers anyway.
    Never,
}

/// Which source addresses packets to `nat` servers get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceAddresses {
    /// The address that the host's routing would use.
    #[default]
    Routing,
    /// All addresses of the interface by which the server is reached.
    Interface,
    /// These, each while the host has it. A family without one is as with `Routing`.
    These(Vec<IpAddr>),
}

impl Node {
    /// Returns the number of source ports per address.
    #[must_use]
    pub fn port_count(&self) -> u32 {
        let (first, last) = (*self.source_ports.start(), *self.source_ports.end());
        (u32::from(last) + 1).saturating_sub(u32::from(first))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, or generic if the driver cannot.
    Auto,
    Native,
    Generic,
}

/// The outer headers beside the backend's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encap {
    /// Source addresses of IP in IP towards IPv4 backends: the rest of the address varies by flow,
    /// so that flows spread over the backends' receive queues. Default 172.16.0.0/16.
    pub source_v4: IpNet,
    /// The same towards IPv6 backends. Default 100::/64, the discard prefix (RFC 6666).
    pub source_v6: IpNet,
    /// The UDP port where backends receive GUE. Default 6080 (IANA).
    pub gue_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket of the admin interface. Default `/run/lb/admin.sock`.
    pub listen: PathBuf,
    /// Who may open it. Default 0600.
    pub mode: u32,
    /// A user, by name or number. Default: the one that lb runs as.
    pub owner: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
}

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    Files(CertificateFiles),
    /// The same, and used for clients that send no name. There is at most one.
    Default(CertificateFiles),
    /// All pairs of certificate and key in this directory.
    Directory(PathBuf),
}

/// PEM files; the names come from the certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySettings {
    /// Prefix of this product's own headers. Default `Fly-`.
    pub header_prefix: Arc<str>,
    /// Networks of trusted proxies, whose `X-Forwarded-*` is believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections from these networks must begin with a PROXY protocol header. Default: none.
    pub proxy_proto_from: Vec<IpNet>,
    /// From accept to the end of the TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// The lifetime of session-ticket keys. At most and by default 6 h.
    pub ticket_rotation: Duration,
    /// For a request's whole header section. Default 10 s.
    pub header_timeout: Duration,
    /// Between requests of a client connection. Default 60 s.
    pub idle_timeout: Duration,
    /// How vanished peers are detected.
    pub keepalive: Keepalive,
    /// How long a relay or tunnel lives without a byte after one side has ended, or an exchange
    /// after the client has ended its side. Default: no limit for relays, 10 s for requests.
    pub termination_delay: Option<Duration>,
    /// Maximum header section of a request in bytes; larger ones are answered with 431. Default 64
    /// KiB.
    pub max_header_size: usize,
    /// Maximum body of a request in bytes; larger ones are answered with 413. Default: no limit.
    pub max_request_body: u64,
    /// From a request's header to the end of its response. Default: no limit.
    pub request_timeout: Option<Duration>,
    /// To connect to a backend. Default 5 s.
    pub dial_timeout: Duration,
    /// From a sent request to the backend's response header. Default 60 s.
    pub response_header_timeout: Duration,
    /// How long SIGTERM waits for connections to end. Default 30 s.
    pub drain_timeout: Duration,
    /// The largest request body that is kept until its response begins, in bytes, so that a backend
    /// may redirect it (`fly-replay`). Default 1 MiB.
    pub max_replay_body: u64,
    /// Keep-alive connections kept per worker and backend. Default 64.
    pub max_idle_per_backend: usize,
    /// How long such a connection may be idle. Default 60 s.
    pub upstream_idle_timeout: Duration,
}

/// TCP keep-alive of client and server connections, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe. Default 60 s.
    pub time: Duration,
    /// Time between probes. Default 15 s.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead. Default 4.
    pub probes: u32,
}

impl Keepalive {
    /// Returns the time from a peer's last sign of life until it counts as dead.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.time + self.interval * self.probes
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), interval: Duration::from_secs(15), probes: 4 }
    }
}

impl ProxySettings {
    /// Returns whether `client` is a trusted proxy, whose `X-Forwarded-*` is believed.
    #[must_use]
    pub fn is_trusted(&self, client: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&client))
    }

    /// Returns whether connections from `client` begin with a PROXY protocol header.
    #[must_use]
    pub fn is_announced(&self, client: IpAddr) -> bool {
        self.proxy_proto_from.iter().any(|network| network.contains(&client))
    }
}
