//! What a worker reaches backends with: open connections, new ones, and the choice among backends.

use std::{cell::RefCell, pin::pin, rc::Rc, sync::Arc};

use tokio::sync::Notify;

use super::{
    dialer::Dialer,
    h1::{connection::ResponseTimeouts, pool::H1Pool},
    h2::pool::H2Pool,
};
use crate::proxy::net::descriptors::Descriptors;
use crate::{fleet::Backend, load::Load, settings::ProxySettings};

pub(crate) struct Upstreams {
    pub load: Load,
    pub rng: RefCell<fastrand::Rng>,
    pub dialer: Dialer,
    /// Of HTTP/1.1.
    pub h1_pool: Rc<H1Pool>,
    pub h2_pool: Rc<H2Pool>,
    /// Told when backends were expelled.
    pub expulsions: Rc<Notify>,
}

impl Upstreams {
    pub(crate) fn new(
        settings: Arc<ProxySettings>,
        load: Load,
        descriptors: Arc<Descriptors>,
    ) -> Self {
        let idle = settings.upstream_idle_timeout;
        let h1_pool = Rc::new(H1Pool::new(settings.max_idle_per_backend, idle));
        let h2_pool = Rc::new(H2Pool::default());
        let dialer = Dialer::new(settings, descriptors);
        let (rng, expulsions) = (RefCell::new(fastrand::Rng::new()), Rc::default());
        Self { load, rng, dialer, h1_pool, h2_pool, expulsions }
    }

    /// Returns the same with other settings. The open connections go on and are shared.
    pub(crate) fn configured(&self, settings: Arc<ProxySettings>) -> Self {
        let (most, idle) = (settings.max_idle_per_backend, settings.upstream_idle_timeout);
        self.h1_pool.configure(most, idle);
        Self {
            load: self.load.clone(),
            rng: RefCell::new(fastrand::Rng::new()),
            dialer: self.dialer.configured(settings),
            h1_pool: self.h1_pool.clone(),
            h2_pool: self.h2_pool.clone(),
            expulsions: self.expulsions.clone(),
        }
    }

    pub(crate) fn settings(&self) -> &ProxySettings {
        &self.dialer.settings
    }

    /// Returns when what `backend` has is to be ended.
    pub(crate) async fn expelled(&self, backend: &Backend) {
        loop {
            let mut news = pin!(self.expulsions.notified());
            // What happens from here on is not missed.
            news.as_mut().enable();
            if backend.is_expelled() {
                return;
            }
            news.await;
        }
    }

    /// Closes connections that idle.
    pub(crate) fn close_idle(&self) {
        self.h1_pool.clear();
        self.h2_pool.close_idle();
    }

    pub(crate) fn response_timeouts(&self) -> ResponseTimeouts {
        ResponseTimeouts { response_header: self.settings().response_header_timeout }
    }
}
