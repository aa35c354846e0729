//! A backend connection in use: counted as load for exactly so long.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use super::{
    answer::Fault, complaint::complain, forward::Switched, limits::Admission, upstream::Upstream,
    worker::Worker,
};
use crate::{
    fleet::{Backend, RunningService},
    load::{Load, Permit},
};

/// Counts a connection to `backend` taken into use, whatever its limits.
pub(super) fn enter(load: &Load, backend: &Backend) -> Permit {
    backend.connections.fetch_add(1, Ordering::Relaxed);
    load.enter(backend.slot)
}

/// Dropped in the middle of a response, it closes the connection: HTTP/1.1 cannot cancel otherwise.
pub(super) struct Lease {
    /// `None`: given back, or one that others use at the same time (HTTP/2).
    upstream: Option<Upstream>,
    backend: Arc<Backend>,
    worker: Rc<Worker>,
    service: Arc<RunningService>,
    admission: Admission,
}

impl Lease {
    pub fn new(
        upstream: Option<Upstream>,
        backend: Arc<Backend>,
        worker: Rc<Worker>,
        service: Arc<RunningService>,
        admission: Admission,
    ) -> Self {
        Self { upstream, backend, worker, service, admission }
    }

    /// Polls `work` along with the connection that it waits for, where that has no task of its own.
    pub fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.upstream {
            Some(upstream) => upstream.poll_with(cx, work),
            None => work(cx),
        }
    }

    /// The client still sends its request while the response is under way.
    pub fn detach(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            upstream.detach();
        }
    }

    /// The exchange is complete: the connection may serve another.
    pub fn give_back(&mut self) {
        if let Some(mut upstream) = self.upstream.take()
            && upstream.is_reusable()
        {
            let Backend { slot, server, .. } = &*self.backend;
            self.worker.pools.put(*slot, server.address, upstream);
        }
    }

    /// The response broke off.
    pub fn fail(self) {
        self.service.failed.fetch_add(1, Ordering::Relaxed);
        complain(&self.service, Fault::BrokeOff);
    }

    /// The connection after `101 Switching Protocols`. The admission goes with it.
    pub async fn into_switched(self) -> Option<Switched> {
        let backend = self.upstream?.into_stream().await?;
        Some(Switched { backend, admission: self.admission })
    }
}
