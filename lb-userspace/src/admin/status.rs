//! The status of the daemon: the JSON of `GET /v1/status` and `lb status --json`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub uptime_seconds: u64,
    /// Processes whose place this one took, and whose connections still go on.
    #[serde(default)]
    pub draining_processes: Vec<u32>,
    pub interfaces: Vec<InterfaceStatus>,
    /// In the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// Every reason, even if nothing was dropped for it.
    pub drops: Vec<Drops>,
    pub verdicts: Verdicts,
    pub flows: Flows,
    pub handshakes: HandshakeStatus,
    /// Every kind, even if nothing was lacking.
    #[serde(default)]
    pub lacks: Vec<LackStatus>,
    /// What is wrong now beyond what the numbers show, and what to do.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// In the order of their paths.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// What others changed on this host and lb restored, every kind.
    #[serde(default)]
    pub repaired: Vec<RepairCount>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairCount {
    /// Such as `local_route`.
    pub what: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatus {
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    pub name: String,
    /// `steer` if some port of the service is steered, else `proxy`.
    pub path: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// How packets of steered ports reach backends: the configuration's `forwarding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<String>,
    /// How a backend is chosen: the configuration's `strategy`.
    #[serde(default)]
    pub strategy: String,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Each is a number, or a range such as `20000-20999`.
    pub ports: Vec<String>,
    /// What `requests` and its backends' `taken` count: `requests` where a port speaks HTTP, else
    /// `connections`.
    #[serde(default)]
    pub counts: String,
    /// Requests (http), connections (other proxied ports) and flows (steered ports) taken.
    pub requests: u64,
    /// Requests or connections of the proxy that ended in an error of lb. For the kernel see
    /// [`Drops`].
    pub failed: u64,
    /// New flows that were refused because no backend had a free source port (`nat`).
    #[serde(default)]
    pub no_source_port: u64,
    /// It left the configuration, and its flows are being ended.
    #[serde(default)]
    pub removed: bool,
    /// In the order of the configuration, then those that left it and still have flows.
    pub backends: Vec<BackendStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendStatus {
    #[schema(value_type = String)]
    pub address: SocketAddr,
    pub up: bool,
    /// Takes nothing new.
    pub draining: bool,
    /// It left the configuration and still has flows.
    #[serde(default)]
    pub removed: bool,
    /// For a server that drains until a deadline: ms until its connections are ended. 0: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_remaining_ms: Option<u64>,
    /// For services with `quic`: the server's id in connection ids, as hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    pub weight: u16,
    /// Connections and flows to this address and port now, of all services that share it.
    pub live: u64,
    /// For services that are steered by `nat`: open TCP flows to this address and port that it has
    /// not answered, though it had time to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<u64>,
    /// What the service [counts](ServiceStatus::counts), of those that came to this backend.
    pub taken: u64,
    /// For `nat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<SourcePorts>,
}

/// Source ports towards a backend, of all source addresses together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourcePorts {
    /// At the last sweep, by flows of all services to its address and port. If no other port is
    /// free, new flows get the ports of closed flows and of datagrams that were answered.
    pub used: u64,
    pub room: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// A name of `lb_common::verdict::Reason`.
    pub reason: String,
    pub packets: u64,
}

/// Frames by verdict, without drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdicts {
    pub pass: u64,
    pub proxy: u64,
    pub steer: u64,
    pub reply: u64,
}

/// The flow table: how many flows the last sweep saw, how many there is room for, and how many ever
/// were evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flows {
    /// Open flows, half-open ones included.
    pub live: u64,
    pub max: u64,
    /// Flows whose client has not shown yet that it receives the answers.
    pub half_open: u64,
    pub max_half_open: u64,
    /// Closed flows whose source port is kept back a little longer.
    pub closed: u64,
    /// Established, long silent flows whose place another took.
    pub evicted: u64,
    /// Half-open flows whose place another took.
    pub evicted_half_open: u64,
    /// Established flows that stayed among the half-open ones because their bucket was full. They
    /// live as long there.
    pub crowded: u64,
    /// Flows that went on after a RST or FIN that closed them, and count again.
    #[serde(default)]
    pub revived: u64,
    /// Flows that moved to the server that a packet's QUIC connection id named.
    #[serde(default)]
    pub rerouted: u64,
}

/// What could not be done at once because this host had no descriptor, port or memory for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LackStatus {
    /// `accepting_paused`, `connections_to_servers` or `health_checks`.
    pub undone: String,
    pub count: u64,
}

/// TLS handshakes with clients, of all ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandshakeStatus {
    pub completed: u64,
    /// Every kind, even if none failed for it.
    pub failed: Vec<FailedHandshakes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailedHandshakes {
    /// Such as `unrecognized_name`.
    pub kind: String,
    pub count: u64,
}

/// A configured pair of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// The names that it is used for. Empty: it could never be used.
    pub names: Vec<String>,
    /// In seconds of Unix time.
    pub not_after: Option<u64>,
    /// Such as `expires within 7 days, 2026-12-08T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concern: Option<String>,
    /// Why the files are not used as they are now. The last good version stays in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
