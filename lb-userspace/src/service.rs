//! What is configured: services, their ports, pools and servers. Plain validated values, no I/O.

mod mix;
mod plain;
mod quic;
mod redirect;
mod speech;
mod steering;
mod strategy;
mod turns;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use crate::interface::InterfacePattern;

pub use mix::mix;
pub use quic::default_server_id;
pub use redirect::Redirect;
pub use speech::Speech;
pub use steering::{
    Access, Affinity, FlowTimeouts, Forwarding, Limits, MssClamp, OnBackendDown, Quic, Rate,
    RateLimits, SourcePrefix, SourceRate, Steering, SynFlood, UnknownFlows,
};
pub use strategy::Strategy;
pub use turns::turns;

/// What a value is called in the configuration, by all that are.
fn name_of<T: PartialEq>(value: T, named: &[(&'static str, T)]) -> &'static str {
    named.iter().find(|(_, it)| *it == value).map_or("unknown", |(name, _)| *name)
}

/// What clients reach: addresses × ports × protocol, and hostnames on shared addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique in the configuration.
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// Anycast addresses. Never empty, no duplicates.
    pub addresses: Vec<IpAddr>,
    /// Empty: every name. Lower case; `*.example.com` stands for one label or more.
    pub hostnames: Vec<Arc<str>>,
    /// Never empty, no number in two of them.
    pub ports: Vec<Port>,
    /// Of the ports without handlers.
    pub steering: Steering,
    /// Who reaches it at all. `None`: everybody.
    pub private: Option<Private>,
    pub concurrency: Concurrency,
    /// Of the ports with handlers. `None`: unlimited.
    pub limits: Option<ServiceLimits>,
    pub queue: Queue,
    pub pool: Pool,
}

impl Service {
    /// Whether some port is steered by the kernel.
    #[must_use]
    pub fn is_steered(&self) -> bool {
        self.ports.iter().any(|port| port.path() == Path::Steer)
    }
}

/// Who reaches a private service: connections that came in by one of the interfaces, from one of the
/// networks. An empty list sets no condition; not both are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    pub interfaces: Vec<InterfacePattern>,
    pub networks: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// IP protocol number (RFC 9293, RFC 768).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Who carries a connection from client to backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// XDP, in the kernel.
    Steer,
    /// The userspace proxy.
    Proxy,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The port, or the first one of a range.
    pub port: NonZeroU16,
    /// The last one of the range: `port` again where there is only one.
    pub end_port: NonZeroU16,
    /// In the order in which they act on a connection. Empty: pass-through.
    pub handlers: Vec<Handler>,
    /// Present exactly when `handlers` contains [`Handler::Tls`] or [`Handler::PgTls`].
    pub tls: Option<TlsOptions>,
    /// Present exactly when `handlers` contains [`Handler::ProxyProto`].
    pub proxy_proto: Option<ProxyProtocol>,
    /// Answer every request with a redirect to https. Only with [`Handler::Http`] without TLS.
    pub force_https: Option<Redirect>,
    /// How long a connection may be silent. `None`: requests as the settings say, relays for as long as
    /// both sides are there. Only with handlers.
    pub idle_timeout: Option<Duration>,
    pub http: HttpOptions,
}

/// What the `http` handler does beside forwarding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Speak HTTP/2 without TLS to the servers.
    pub h2_backend: bool,
    /// Add nothing of our own to responses.
    pub pristine: bool,
    /// Set in every response of a server, in lower case. Without a value: removed.
    pub response_headers: Vec<(Arc<str>, Vec<Arc<str>>)>,
}

impl Port {
    /// Every number that belongs to it.
    #[must_use]
    pub fn numbers(&self) -> RangeInclusive<u16> {
        self.port.get()..=self.end_port.get()
    }

    #[must_use]
    pub fn path(&self) -> Path {
        if self.handlers.is_empty() { Path::Steer } else { Path::Proxy }
    }

    #[must_use]
    pub fn has(&self, handler: Handler) -> bool {
        self.handlers.contains(&handler)
    }

    #[must_use]
    pub fn opening(&self) -> Opening {
        match self.handlers.first() {
            Some(Handler::Tls) => Opening::Tls,
            Some(Handler::Http) => Opening::Http,
            Some(Handler::PgTls) => Opening::Postgres,
            Some(Handler::ProxyProto) | None => Opening::Raw,
        }
    }
}

/// `443`, or `20000-20999`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end_port {
            end if end == self.port => write!(f, "{end}"),
            end => write!(f, "{}-{end}", self.port),
        }
    }
}

/// What a client begins a connection with. Services can only share an address and port where all
/// begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// A TLS handshake, which names the service (SNI).
    Tls,
    /// Requests, each of which names the service (`Host`).
    Http,
    /// PostgreSQL's request for TLS, and then the handshake.
    Postgres,
    /// Anything: no name is seen, so there is one service.
    Raw,
}

impl Opening {
    /// Whether `hostnames` tell services apart.
    #[must_use]
    pub fn is_named(self) -> bool {
        self != Self::Raw
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handler {
    Tls,
    Http,
    /// TLS as PostgreSQL begins it.
    PgTls,
    /// Tell the backend who the client is, ahead of the connection's first byte.
    ProxyProto,
}

impl Handler {
    /// As the configuration writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::PgTls => "pg_tls",
            Self::ProxyProto => "proxy_proto",
        }
    }
}

/// Version of the PROXY protocol
/// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text.
    #[default]
    V1,
    /// Binary; says more where the client came by TLS.
    V2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Protocol names in order of preference. Default: `h2`, `http/1.1`; for [`Handler::PgTls`]
    /// always `postgresql`.
    pub alpn: Vec<Arc<str>>,
    /// Nobody said which protocols, and the servers speak them: `h2` counts only while they do.
    pub alpn_by_servers: bool,
    /// At least one. Default: both.
    pub versions: Vec<TlsVersion>,
    /// Serve a self-signed certificate where none is configured for the name.
    pub default_self_signed: bool,
    /// Ask clients for a certificate. Default: no.
    pub client_auth: Option<ClientAuth>,
    /// Tell servers of the certificates that clients show. Only with [`Handler::Http`].
    pub forward_client_cert: bool,
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM file with the authorities that may have issued them.
    pub ca: PathBuf,
    /// Refuse clients without one. A bad one is refused in any case.
    pub is_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// How much of a service the proxy serves at a time: requests (http) or connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// From here on new ones wait. Default: the hard limit, so that nobody waits.
    pub soft_limit: u16,
    /// From here on, those who wait included, new ones are refused. Default 65535.
    pub hard_limit: u16,
}

/// Who waits for room at a service or its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// So many at a time. 0: nobody. Default 1024.
    pub length: u32,
    /// For so long. Default 10 s.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 1024, timeout: Duration::from_secs(10) }
    }
}

/// How much one backend may carry at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub kind: ConcurrencyKind,
    /// Over it, other backends are preferred.
    pub soft_limit: u32,
    /// Nothing new at or over it. `None`: unlimited.
    pub hard_limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyKind {
    Connections,
    Requests,
}

/// Backends and how to choose among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The proxy's; the kernel's is [`Steering::strategy`].
    pub strategy: Strategy,
    /// Never empty; addresses differ.
    pub servers: Vec<Server>,
    pub health_check: Option<HealthCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Port 0: the one that the client asked for. Only of services without handlers.
    pub address: SocketAddr,
    /// Share of new flows relative to the other servers. 0: none.
    pub weight: u16,
    /// Takes nothing new, whatever its weight; what it has may end.
    pub drain: bool,
    pub region: Option<Arc<str>>,
    pub instance: Option<Arc<str>>,
    /// What its QUIC connection ids begin with. Present exactly where the service has
    /// [`Steering::quic`], and as long as that says.
    pub server_id: Option<Arc<[u8]>>,
}

impl Server {
    /// With weight 1 and nothing else.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, weight: 1, drain: false, region: None, instance: None, server_id: None }
    }

    /// Whether it may take something new as far as the configuration goes.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        self.weight > 0 && !self.drain
    }
}

/// An active check, made of each server.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub probe: Probe,
    /// Replaces the server's port.
    pub port: Option<NonZeroU16>,
    /// Ask the server at its own address, however clients' packets reach it.
    pub direct: bool,
    /// Ask by HTTP/2 without TLS, or not. `None`: as the service's ports do.
    pub h2_backend: Option<bool>,
    /// Begin with a PROXY protocol header, or not. `None`: as the service's ports do.
    pub proxy_proto: Option<Option<ProxyProtocol>>,
    /// Between checks of a healthy server. Default 30 s.
    pub interval: Duration,
    /// Between checks of an unhealthy server. Default: `interval`.
    pub unhealthy_interval: Duration,
    /// For one whole check. Default 5 s.
    pub timeout: Duration,
    /// Consecutive successes that bring an unhealthy server back. Default 1.
    pub healthy_threshold: u32,
    /// Consecutive failures that take a healthy server out. Default 1.
    pub unhealthy_threshold: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// The connection is accepted.
    Tcp,
    Http {
        /// Starts with `/`.
        path: Arc<str>,
        /// Upper case. Default `GET`.
        method: Arc<str>,
        /// `Host` header. Default: the server's address.
        hostname: Option<Arc<str>>,
        headers: Vec<(Arc<str>, Arc<str>)>,
        /// The status that means healthy. `None`: 200 to 399.
        status: Option<u16>,
    },
}
