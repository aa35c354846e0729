//! A service's port, and how its connections are handled.

use std::{fmt, num::NonZeroU16, ops::RangeInclusive, sync::Arc, time::Duration};

use super::tls::TlsOptions;

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
    /// The last port of the range; `port` again for a single port.
    pub end_port: NonZeroU16,
    /// In the order of their effect on a connection. Empty: pass-through.
    pub handlers: Vec<Handler>,
    /// Present exactly when `handlers` contains [`Handler::Tls`] or [`Handler::PgTls`].
    pub tls: Option<TlsOptions>,
    /// Present exactly when `handlers` contains [`Handler::ProxyProto`].
    pub proxy_proto: Option<ProxyProtocol>,
    /// Answer every request with a redirect to https. Only with [`Handler::Http`] without TLS.
    pub force_https: Option<Redirect>,
    /// How long a connection may be idle. `None`: requests as the settings say, relays without
    /// limit. Only with handlers.
    pub idle_timeout: Option<Duration>,
    pub http: HttpOptions,
}

/// Options of the `http` handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Speak HTTP/2 without TLS to the servers.
    pub h2_backend: bool,
    /// Add no headers of our own to responses.
    pub pristine: bool,
    /// Headers set in every response of a server, in lower case; an empty value list removes the
    /// header.
    pub response_headers: Vec<(Arc<str>, Vec<Arc<str>>)>,
}

impl Port {
    /// Returns its port numbers.
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

/// What a client sends first. Services can only share an address and port if all clients begin
/// alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opening {
    /// A TLS handshake, which names the service (SNI).
    Tls,
    /// Requests, each of which names the service (`Host`).
    Http,
    /// PostgreSQL's SSLRequest, then the handshake.
    Postgres,
    /// Anything: without a name there can be only one service.
    Raw,
}

impl Opening {
    /// Returns whether `hostnames` distinguish services.
    #[must_use]
    pub fn is_named(self) -> bool {
        self != Self::Raw
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handler {
    Tls,
    Http,
    /// TLS after PostgreSQL's SSLRequest.
    PgTls,
    /// Send the client's address to the backend, ahead of the connection's first byte.
    ProxyProto,
}

impl Handler {
    /// Returns its name in the configuration.
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
    /// Binary; includes TLS details of the client's connection.
    V2,
}

/// The redirect of http requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 307 or 308. Default 301.
    pub status: u16,
    /// The port of https. `None`: where the service has it, or 443.
    pub port: Option<NonZeroU16>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 301, port: None }
    }
}
