//! What is configured beside the services: the node, the admin door, certificates, timeouts.

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
/// What `maglev_table_size` may be: from what tells a handful of servers apart to what tells
/// thousands.
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

/// Where regions are to each other, as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geography {
    pub local: Option<Arc<str>>,
    /// The nearest first.
    pub nearby: Vec<Arc<str>>,
    pub groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

impl Geography {
    /// How far `region` is. 0: here, or nobody says where it or we are.
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

    /// Whether `name`, of a region or a group or `any`, stands for `region` among others.
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
    /// `Fly-Region` and the region of "local" backends.
    pub region: Option<Arc<str>>,
    /// Other regions, the nearest first; all others are farther.
    pub nearby: Vec<Arc<str>>,
    /// XDP is attached to all that match one of them. Never empty.
    pub interfaces: Vec<InterfacePattern>,
    pub xdp: XdpMode,
    /// Source ports of steered flows, disjoint from the host's ephemeral range. Default 2048–32767.
    pub source_ports: RangeInclusive<u16>,
    /// Whose they are. Default: the address that routing would use.
    pub source_addresses: SourceAddresses,
    /// Room for this many established flows at a time. Default 262144; 450 to 900 bytes of kernel
    /// memory each, with the half-open ones and the index of answers.
    pub max_flows: u32,
    /// Slots of a maglev ring. Default: by its servers, 8192 for a few and 32768 for more.
    pub maglev_table_size: Option<u32>,
    /// Room for TCP flows before their handshake is complete. Default: an eighth of
    /// `max_flows`, at least 1024.
    pub max_half_open: u32,
    /// Room for packets that are in fragments. Default 16384.
    pub max_fragments: u32,
    /// Room for sources that affinity remembers. Default 65536.
    pub max_affinities: u32,
    /// Room for sources under a rate limit or past a challenge. Default 65536.
    pub max_sources: u32,
    /// What services do not say otherwise.
    pub flow_timeouts: FlowTimeouts,
    /// What becomes of segments of flows that nobody knows. Default: they are answered with RST.
    pub unknown_flows: UnknownFlows,
    pub encap: Encap,
    /// What the daemon changed on the host, and the ids it gave out. Default
    /// [`DEFAULT_STATE_DIR`].
    pub state_dir: PathBuf,
    /// In a bpffs: where the data path has its names. Default [`DEFAULT_PIN_DIR`].
    pub pin_dir: PathBuf,
    /// Proxy workers. `None`: one per core.
    pub workers: Option<usize>,
    /// Default [`Assigned`](AnswerNeighbours::Assigned).
    pub answer_neighbours: AnswerNeighbours,
}

/// When this host answers ARP and neighbour discovery for announced addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerNeighbours {
    /// While an interface has the address.
    #[default]
    Assigned,
    /// Also where no interface has it.
    Always,
    /// No interface is to have one; where it does, the kernel answers all the same.
    Never,
}

/// Which addresses of ours packets to `nat` servers carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceAddresses {
    /// The one that the host's routing would use.
    #[default]
    Routing,
    /// All that the interface has by which the server is reached.
    Interface,
    /// These, each as long as the host has it. A family without one is as with `Routing`.
    These(Vec<IpAddr>),
}

impl Node {
    /// How many source ports each address has.
    #[must_use]
    pub fn port_count(&self) -> u32 {
        let (first, last) = (*self.source_ports.start(), *self.source_ports.end());
        (u32::from(last) + 1).saturating_sub(u32::from(first))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, generic where the driver cannot.
    Auto,
    Native,
    Generic,
}

/// What outer headers say beside the backend's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encap {
    /// Sources of IP in IP towards IPv4 backends: the rest of the address varies by flow, so that
    /// the backends' receive queues spread. Default 172.16.0.0/16.
    pub source_v4: IpNet,
    /// The same towards IPv6 backends. Default 100::/64, the discard prefix (RFC 6666).
    pub source_v6: IpNet,
    /// UDP port on which backends take GUE. Default 6080 (IANA).
    pub gue_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket of the daemon's door. Default `/run/lb/admin.sock`.
    pub listen: PathBuf,
}

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    Files(CertificateFiles),
    /// The same, and shown to clients that send no name. There is at most one.
    Default(CertificateFiles),
    /// All pairs of certificate and key in there.
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
    /// Prefix of the headers that name this product's facts. Default `Fly-`.
    pub header_prefix: Arc<str>,
    /// Clients in these networks are proxies whose `X-Forwarded-*` is believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections from these networks must begin with a PROXY protocol header. Default: none.
    pub proxy_proto_from: Vec<IpNet>,
    /// From accept to the end of the TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Between two changes of the keys for session tickets. At most and by default 6 h.
    pub ticket_rotation: Duration,
    /// For a request's whole header section. Default 10 s.
    pub header_timeout: Duration,
    /// Between requests of a client connection. Default 60 s.
    pub idle_timeout: Duration,
    /// How peers that vanished are noticed.
    pub keepalive: Keepalive,
    /// How long a relay or tunnel lives without a byte after one side has ended, or an exchange
    /// after the client has ended its side. Default: no limit for relays, 10 s for requests.
    pub termination_delay: Option<Duration>,
    /// Of a request, in bytes; larger ones are answered with 431. Default 64 KiB.
    pub max_header_size: usize,
    /// Of a request, in bytes; larger ones are answered with 413. Default: no limit.
    pub max_request_body: u64,
    /// From a request's header to the end of its response. Default: no limit.
    pub request_timeout: Option<Duration>,
    /// To connect to a backend. Default 5 s.
    pub dial_timeout: Duration,
    /// From a sent request to the backend's response header. Default 60 s.
    pub response_header_timeout: Duration,
    /// How long SIGTERM waits for connections to end. Default 30 s.
    pub drain_timeout: Duration,
    /// The largest body of a request that is kept until its response begins, in bytes, so that a
    /// backend may send it elsewhere (`fly-replay`). Default 1 MiB.
    pub max_replay_body: u64,
    /// Keep-alive connections kept per worker and backend. Default 64.
    pub max_idle_per_backend: usize,
    /// How long such a connection may be idle. Default 60 s.
    pub upstream_idle_timeout: Duration,
}

/// TCP keep-alive, in whole seconds: of clients' connections and of those to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Of silence, before the peer is asked whether it is there. Default 60 s.
    pub time: Duration,
    /// Until it is asked again. Default 15 s.
    pub interval: Duration,
    /// Questions without an answer after which it is gone. Default 4.
    pub probes: u32,
}

impl Keepalive {
    /// From a peer's last sign of life until it counts as gone.
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
    /// Whether `client` is a proxy whose `X-Forwarded-*` is believed.
    #[must_use]
    pub fn is_trusted(&self, client: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&client))
    }

    /// Whether connections from `client` begin with a PROXY protocol header.
    #[must_use]
    pub fn is_announced(&self, client: IpAddr) -> bool {
        self.proxy_proto_from.iter().any(|network| network.contains(&client))
    }
}
