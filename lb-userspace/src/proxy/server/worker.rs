//! A worker's state: its own, and its handles to what all share.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use hyper::header::HeaderValue;

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
    pub settings: Arc<ProxySettings>,
    pub names: Arc<HeaderNames>,
    pub region: Option<HeaderValue>,
    pub routes: Arc<ArcSwap<Routes>>,
    pub load: Load,
    pub ingress: Ingress,
    pub cancel_keys: Arc<CancelKeys>,
    pub handshakes: Arc<HandshakeStats>,
    pub descriptors: Arc<Descriptors>,
}

/// A worker's own state, and its handles to what is shared.
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
}

impl Worker {
    pub(crate) fn new(shared: SharedState) -> Rc<Self> {
        let settings = shared.settings;
        let descriptors = shared.descriptors.clone();
        let upstreams = Upstreams::new(settings.clone(), shared.load, descriptors);
        Rc::new(Self {
            settings,
            names: shared.names,
            region: shared.region,
            ingress: shared.ingress,
            cancel_keys: shared.cancel_keys,
            handshakes: shared.handshakes,
            descriptors: shared.descriptors,
            upstreams: Rc::new(upstreams),
            drain: Rc::default(),
            routes: RefCell::new(Cache::new(shared.routes)),
        })
    }

    /// Asks the routes that apply now.
    pub(crate) fn with_routes<T>(&self, ask: impl FnOnce(&Routes) -> T) -> T {
        ask(self.routes.borrow_mut().load())
    }
}
