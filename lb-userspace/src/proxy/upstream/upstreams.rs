//! What a worker reaches backends with: open connections, new ones, and the choice among backends.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    dialer::Dialer,
    h1::{connection::Allowance, pool::Pools},
    h2::pool::Connections,
};
use crate::proxy::net::descriptors::Descriptors;
use crate::{load::Load, settings::ProxySettings};

pub(crate) struct Upstreams {
    pub load: Load,
    pub rng: RefCell<fastrand::Rng>,
    pub dialer: Dialer,
    /// Of HTTP/1.1.
    pub pools: Rc<Pools>,
    pub http2: Rc<Connections>,
}

impl Upstreams {
    pub fn new(settings: Arc<ProxySettings>, load: Load, descriptors: Arc<Descriptors>) -> Self {
        let idle = settings.upstream_idle_timeout;
        let pools = Rc::new(Pools::new(settings.max_idle_per_backend, idle));
        let http2 = Rc::new(Connections::default());
        let close_idle = {
            let (pools, http2) = (pools.clone(), http2.clone());
            // All of them, whatever the first answers.
            move || pools.clear() | http2.close_idle()
        };
        let dialer = Dialer::new(settings, descriptors, close_idle);
        Self { load, rng: RefCell::new(fastrand::Rng::new()), dialer, pools, http2 }
    }

    pub fn settings(&self) -> &ProxySettings {
        &self.dialer.settings
    }

    pub fn allowance(&self) -> Allowance {
        Allowance { response_header: self.settings().response_header_timeout }
    }
}
