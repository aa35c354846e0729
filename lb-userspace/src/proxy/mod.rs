//! The userspace proxy: connection → PROXY protocol → TLS → HTTP | relay → pick → backend.
//!
//! In rooms, each of which imports only those before it:
//! `net → http → tls → routing → downstream → upstream → server`.
//!
//! One worker per core, each with its own current-thread runtime, its own listener in the
//! `SO_REUSEPORT` group, its own pools of backend connections. Nothing on a request's way takes a
//! lock shared between workers: [`Routes`] are a snapshot swapped whole, counts are atomics.

mod downstream;
mod http;
mod net;
mod routing;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use socket2::SockRef;
use tokio::{sync::watch as channel, time::timeout};

use self::{
    http::headers::HeaderNames,
    net::{descriptors::Descriptors, drain::Phase},
    server::worker::{SharedState, WorkerSettings},
};
pub use self::{
    routing::{
        access::Ingress,
        routes::{Routes, RoutesError},
    },
    tls::{
        certificates::{CertificateError, CertificateStore, Held, Validity},
        handshake_stats::HandshakeStats,
        session_tickets::TicketSecrets,
        terminator::examine_client_ca,
    },
};
use crate::{exhaustion::ExhaustionCounters, load::Load, settings::ProxySettings};

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("header prefix {0:?} does not begin a header name; something like \"Fly-\" does")]
    Prefix(Arc<str>),
    #[error("region {0:?} cannot be a header's value; use visible ASCII characters")]
    Region(Arc<str>),
    #[error("cannot start a proxy worker: {0}")]
    Worker(#[from] io::Error),
}

/// The bound listeners, before anything is accepted.
pub struct Proxy {
    listeners: Vec<TcpListener>,
    workers: usize,
    descriptors: Arc<Descriptors>,
}

/// Descriptors that are kept back unless [`Proxy::bind`] is told otherwise: for the admin socket,
/// files and the kernel's tables.
pub const KEPT: u64 = 64;

impl Proxy {
    /// One listener per worker on `address`, in one `SO_REUSEPORT` group. An IPv6 socket takes
    /// IPv4 as well.
    ///
    /// Under `sk_lookup` this is `[::]:0`: binding to any other IPv6 address makes Linux set
    /// `IPV6_V6ONLY`, and IPv4 connections could not be handed over. What reaches the socket's own
    /// port directly finds no route and is reset.
    ///
    /// `kept` descriptors are left alone, whatever clients ask for: they are for the rest of the
    /// daemon. What cannot be done for want of them is counted in `exhaustion`.
    ///
    /// # Errors
    /// As from `bind(2)` and `listen(2)`.
    pub fn bind(
        workers: usize,
        address: SocketAddr,
        kept: u64,
        exhaustion: Arc<ExhaustionCounters>,
    ) -> io::Result<Self> {
        net::listener::raise_limit();
        let listeners = net::listener::group(workers.max(1), address)?;
        let descriptors = Descriptors::measure(&listeners[0], listeners.len(), kept, exhaustion)?;
        Ok(Self { workers: listeners.len(), listeners, descriptors: Arc::new(descriptors) })
    }

    /// The same with sockets that another process made: its `listeners`, one per worker or more, in
    /// one `SO_REUSEPORT` group. What waits in their queues is accepted here.
    ///
    /// # Errors
    /// As from [`bind`](Self::bind).
    pub fn inherit(
        mut listeners: Vec<TcpListener>,
        workers: usize,
        kept: u64,
        exhaustion: Arc<ExhaustionCounters>,
    ) -> io::Result<Self> {
        net::listener::raise_limit();
        let first = listeners.first().ok_or(io::ErrorKind::InvalidInput)?;
        let address = first.local_addr()?;
        while listeners.len() < workers {
            listeners.push(net::listener::listen(address)?);
        }
        let descriptors = Descriptors::measure(&listeners[0], listeners.len(), kept, exhaustion)?;
        Ok(Self { listeners, workers: workers.max(1), descriptors: Arc::new(descriptors) })
    }

    /// For the socket map, one per worker.
    #[must_use]
    pub fn listeners(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// Starts a thread per listener.
    ///
    /// `region` is the node's. `ingress` is asked about connections to private services. Whoever
    /// holds `routes` may store new ones at any time: they apply to the next connection, and to the
    /// next request of those that are open.
    ///
    /// # Errors
    /// [`ProxyError`] for settings that cannot become headers, or when a thread cannot be started.
    pub fn start(
        self,
        settings: Arc<ProxySettings>,
        region: Option<Arc<str>>,
        routes: Arc<ArcSwap<Routes>>,
        load: Load,
        ingress: Ingress,
    ) -> Result<Running, ProxyError> {
        let settings = Arc::new(WorkerSettings::new(settings, region)?);
        let keepalive = settings.proxy.keepalive;
        let settings = channel::Sender::new(settings);
        let news = channel::Sender::new(());
        let shared = SharedState {
            settings: settings.subscribe(),
            news: news.subscribe(),
            routes,
            load,
            ingress,
            cancel_keys: Arc::default(),
            handshakes: Arc::default(),
            descriptors: self.descriptors,
        };
        let handshakes = shared.handshakes.clone();
        let kept = shared.descriptors.kept;
        let phase = channel::Sender::new(Phase::Serving);
        let copies = self.listeners.iter().map(TcpListener::try_clone);
        let copies: Vec<_> = copies.collect::<io::Result<_>>()?;
        // Where there are more listeners than workers, some have several.
        let mut shares: Vec<Vec<TcpListener>> = Vec::new();
        shares.resize_with(self.workers, Vec::new);
        for (index, listener) in self.listeners.into_iter().enumerate() {
            net::listener::notice_loss(&SockRef::from(&listener), &keepalive)?;
            shares[index % self.workers].push(listener);
        }
        for (index, listeners) in shares.into_iter().enumerate() {
            let (shared, phase) = (shared.clone(), phase.subscribe());
            let name = format!("proxy-{index}");
            thread::Builder::new().name(name).spawn(move || {
                if let Err(error) = server::accept::run(listeners, shared, phase) {
                    tracing::error!(%error, "proxy worker ended");
                }
            })?;
        }
        Ok(Running { phase, settings, news, handshakes, kept, listeners: copies })
    }
}

impl WorkerSettings {
    fn new(proxy: Arc<ProxySettings>, region: Option<Arc<str>>) -> Result<Self, ProxyError> {
        let prefix = &proxy.header_prefix;
        let names = HeaderNames::new(prefix).map_err(|_| ProxyError::Prefix(prefix.clone()))?;
        let region =
            region.map(|name| HeaderValue::from_str(&name).map_err(|_| ProxyError::Region(name)));
        Ok(Self { names: Arc::new(names), region: region.transpose()?, proxy })
    }
}

/// The workers. Dropping it cuts every connection off.
pub struct Running {
    phase: channel::Sender<Phase>,
    settings: channel::Sender<Arc<WorkerSettings>>,
    news: channel::Sender<()>,
    handshakes: Arc<HandshakeStats>,
    kept: u64,
    /// Copies of the workers' sockets, for the process that takes this one's place.
    listeners: Vec<TcpListener>,
}

/// Settings that the workers can take over.
pub struct CheckedSettings(Arc<WorkerSettings>);

impl CheckedSettings {
    /// # Errors
    /// [`ProxyError`] for settings that cannot become headers.
    pub fn new(proxy: Arc<ProxySettings>, region: Option<Arc<str>>) -> Result<Self, ProxyError> {
        Ok(Self(Arc::new(WorkerSettings::new(proxy, region)?)))
    }
}

impl Running {
    /// Has new connections go by other settings. Those that are open keep theirs.
    pub fn configure(&self, settings: CheckedSettings) {
        self.settings.send_replace(settings.0);
    }

    /// Returns the listening sockets, which another process may accept at, too.
    #[must_use]
    pub fn listeners(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// Tells open connections that the routes have changed, or that backends were expelled: those
    /// of what was removed end at their next good moment, those of what was expelled at once.
    pub fn notice(&self) {
        self.news.send_replace(());
    }

    /// How many descriptors are kept back: fewer than was asked for where there are few.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How TLS handshakes ended.
    #[must_use]
    pub fn handshakes(&self) -> &Arc<HandshakeStats> {
        &self.handshakes
    }

    /// Accepts nothing new, lets connections end (HTTP/1 after the current request, HTTP/2 by
    /// GOAWAY, relays by themselves) and cuts off what is left after `within`. Returns when every
    /// worker has ended and every count is back.
    pub async fn drain(&mut self, within: Duration) {
        // The workers close theirs.
        self.listeners.clear();
        self.phase.send_replace(Phase::Draining);
        if timeout(within, self.phase.closed()).await.is_err() {
            self.cut().await;
        }
    }

    /// The same where another process has the listening sockets, too: what waits in their queues is
    /// left to it.
    pub async fn hand_over(mut self, within: Duration) {
        self.listeners.clear();
        self.phase.send_replace(Phase::HandedOver);
        if timeout(within, self.phase.closed()).await.is_err() {
            self.cut().await;
        }
    }

    /// Cuts every connection off. Returns when every worker has ended: clients have been told, as
    /// long as our addresses still are ours.
    pub async fn cut(&self) {
        self.phase.send_replace(Phase::Cut);
        self.phase.closed().await;
    }
}
