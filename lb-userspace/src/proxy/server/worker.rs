//! A worker's state: its own, and its handles to what all share.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};
use hyper::header::HeaderValue;
use tokio::sync::watch;

use super::postgres::CancelKeys;
use crate::proxy::{
    http::headers::HeaderNames,
    net::{
        descriptors::Descriptors,
        drain::{DrainManner, DrainSignal, LiveCount},
    },
    routing::{access::Ingress, routes::Routes},
    tls::handshake_stats::HandshakeStats,
    upstream::upstreams::Upstreams,
};
use crate::{load::Load, service::Opening, settings::ProxySettings};

/// What workers share: nothing that is locked while requests are served.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub settings: watch::Receiver<Arc<WorkerSettings>>,
    /// Told when routes or backends changed in a way that concerns open connections.
    pub news: watch::Receiver<()>,
    pub routes: Arc<ArcSwap<Routes>>,
    pub load: Load,
    pub ingress: Ingress,
    pub cancel_keys: Arc<CancelKeys>,
    pub handshakes: Arc<HandshakeStats>,
    pub descriptors: Arc<Descriptors>,
}

/// The settings of the proxy, and what they become in headers.
pub(crate) struct WorkerSettings {
    pub proxy: Arc<ProxySettings>,
    pub names: Arc<HeaderNames>,
    pub region: Option<HeaderValue>,
}

/// A worker's own state under certain settings, and its handles to what is shared. A connection
/// keeps the one that it began with.
pub(crate) struct Worker {
    pub settings: Arc<ProxySettings>,
    pub names: Arc<HeaderNames>,
    pub region: Option<HeaderValue>,
    pub ingress: Ingress,
    pub cancel_keys: Arc<CancelKeys>,
    pub handshakes: Arc<HandshakeStats>,
    pub descriptors: Arc<Descriptors>,
    pub upstreams: Rc<Upstreams>,
    pub count: Rc<LiveCount>,
    /// By the address and port that connections came to.
    drains: Rc<RefCell<HashMap<SocketAddr, FrontendDrain>>>,
    /// All connections are to go, also those that begin now.
    draining: Rc<Cell<Option<DrainManner>>>,
    routes: RefCell<Cache<Arc<ArcSwap<Routes>>, Arc<Routes>>>,
    shared_routes: Arc<ArcSwap<Routes>>,
}

impl Worker {
    pub(crate) fn new(shared: SharedState) -> Rc<Self> {
        let settings = shared.settings.borrow().clone();
        let descriptors = shared.descriptors.clone();
        let upstreams = Upstreams::new(settings.proxy.clone(), shared.load, descriptors);
        Rc::new(Self {
            settings: settings.proxy.clone(),
            names: settings.names.clone(),
            region: settings.region.clone(),
            ingress: shared.ingress,
            cancel_keys: shared.cancel_keys,
            handshakes: shared.handshakes,
            descriptors: shared.descriptors,
            upstreams: Rc::new(upstreams),
            count: Rc::default(),
            drains: Rc::default(),
            draining: Rc::default(),
            routes: RefCell::new(Cache::new(shared.routes.clone())),
            shared_routes: shared.routes,
        })
    }

    /// Returns the same worker under other settings.
    fn configured(&self, settings: &WorkerSettings) -> Rc<Self> {
        let upstreams = self.upstreams.configured(settings.proxy.clone());
        Rc::new(Self {
            settings: settings.proxy.clone(),
            names: settings.names.clone(),
            region: settings.region.clone(),
            ingress: self.ingress,
            cancel_keys: self.cancel_keys.clone(),
            handshakes: self.handshakes.clone(),
            descriptors: self.descriptors.clone(),
            upstreams: Rc::new(upstreams),
            count: self.count.clone(),
            drains: self.drains.clone(),
            draining: self.draining.clone(),
            routes: RefCell::new(Cache::new(self.shared_routes.clone())),
            shared_routes: self.shared_routes.clone(),
        })
    }

    /// Returns the signal by which connections that come to `local` now learn that it is time to
    /// go.
    pub(crate) fn drain_of(&self, local: SocketAddr, opening: Opening) -> Rc<DrainSignal> {
        let mut drains = self.drains.borrow_mut();
        let drain =
            drains.entry(local).or_insert_with(|| FrontendDrain { opening, signal: Rc::default() });
        // It may have been removed during the handshake.
        let removed = (!self.serves(local, opening)).then_some(DrainManner::Gently);
        if let Some(manner) = self.draining.get().or(removed) {
            drain.signal.begin(manner);
        }
        drain.signal.clone()
    }

    fn serves(&self, local: SocketAddr, opening: Opening) -> bool {
        let found = self.with_routes(|routes| Some(routes.find(local)?.opening));
        found == Some(opening)
    }

    /// Has connections go that came to where nothing is served any more, or something else.
    pub(crate) fn drain_removed(&self) {
        // Nothing holds the former routes any longer.
        self.with_routes(|_| ());
        self.drains.borrow_mut().retain(|&local, drain| {
            let stays = self.serves(local, drain.opening);
            if !stays {
                drain.signal.begin(DrainManner::Gently);
            }
            // A signal that nobody listens to is made anew when somebody comes.
            stays && Rc::strong_count(&drain.signal) > 1
        });
    }

    /// Has all connections go.
    pub(crate) fn drain_all(&self, manner: DrainManner) {
        self.draining.set(Some(manner));
        self.drains.borrow().values().for_each(|drain| drain.signal.begin(manner));
    }

    /// Asks the routes that apply now.
    pub(crate) fn with_routes<T>(&self, ask: impl FnOnce(&Routes) -> T) -> T {
        ask(self.routes.borrow_mut().load())
    }
}

/// The signal of one address and port.
struct FrontendDrain {
    /// What its connections began with.
    opening: Opening,
    signal: Rc<DrainSignal>,
}

/// The worker as new connections get it.
pub(crate) struct CurrentWorker(RefCell<Rc<Worker>>);

impl CurrentWorker {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self(RefCell::new(worker))
    }

    pub(crate) fn get(&self) -> Rc<Worker> {
        self.0.borrow().clone()
    }

    pub(crate) fn configure(&self, settings: &WorkerSettings) {
        let configured = self.0.borrow().configured(settings);
        *self.0.borrow_mut() = configured;
    }
}
