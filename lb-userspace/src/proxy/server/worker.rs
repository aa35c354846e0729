//! A worker's state: its own, and its handles to what all share.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use hyper::header::HeaderValue;
use tokio::sync::watch;

use super::postgres::CancelKeys;
use crate::proxy::{
    http::headers::HeaderNames,
    net::{descriptors::Descriptors, drain::DrainSignal},
    routing::{access::Ingress, routes::Routes},
    tls::handshake_stats::HandshakeStats,
    upstream::upstreams::Upstreams,
};
use crate::{load::Load, settings::ProxySettings};

/// What workers share: nothing that is locked while requests are served.
#[derive(Clone)]
pub(crate) struct SharedState {
    pub settings: watch::Receiver<Arc<WorkerSettings>>,
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
    pub drain: Rc<DrainSignal>,
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
            drain: Rc::default(),
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
            drain: self.drain.clone(),
            routes: RefCell::new(Cache::new(self.shared_routes.clone())),
            shared_routes: self.shared_routes.clone(),
        })
    }

    /// Asks the routes that apply now.
    pub(crate) fn with_routes<T>(&self, ask: impl FnOnce(&Routes) -> T) -> T {
        ask(self.routes.borrow_mut().load())
    }
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
