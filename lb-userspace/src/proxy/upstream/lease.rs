//! A backend connection in use: counted as load for exactly so long.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{
    failure_log::log_failure, h1::connection::H1Connection, h2::pool::H2Stream,
    upstreams::Upstreams,
};
use crate::proxy::{http::fault::Fault, net::relay::RelayTimeouts, routing::admission::Admission};
use crate::{
    fleet::{Backend, RunningService},
    load::{Load, Permit},
};

/// Counts a connection to `backend` taken into use, whatever its limits.
pub(crate) fn enter(load: &Load, backend: &Backend) -> Permit {
    backend.state.taken.fetch_add(1, Ordering::Relaxed);
    load.enter(backend.slot)
}

/// What carries an exchange.
pub(crate) enum Carrier {
    /// Given back.
    Gone,
    /// A connection of HTTP/1.1.
    Own(Box<H1Connection>),
    /// A stream of HTTP/2, counted as long as it is held.
    Shared { _stream: H2Stream },
}

/// Dropped in the middle of a response, it closes the connection: HTTP/1.1 cannot cancel otherwise.
pub(crate) struct Lease {
    carrier: Carrier,
    backend: Arc<Backend>,
    upstreams: Rc<Upstreams>,
    service: Arc<RunningService>,
    admission: Admission,
}

impl Lease {
    pub(crate) fn new(
        carrier: Carrier,
        backend: Arc<Backend>,
        upstreams: Rc<Upstreams>,
        service: Arc<RunningService>,
        admission: Admission,
    ) -> Self {
        Self { carrier, backend, upstreams, service, admission }
    }

    /// Polls `work` along with the connection that it waits for, where that has no task of its own.
    pub(crate) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.carrier {
            Carrier::Own(upstream) => upstream.poll_with(cx, work),
            Carrier::Shared { .. } | Carrier::Gone => work(cx),
        }
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The client still sends its request while the response is under way.
    pub(crate) fn detach(&mut self) {
        if let Carrier::Own(upstream) = &mut self.carrier {
            upstream.detach();
        }
    }

    /// The exchange is complete: the connection may serve another.
    pub(crate) fn give_back(&mut self) {
        if let Carrier::Own(mut upstream) = std::mem::replace(&mut self.carrier, Carrier::Gone)
            && upstream.is_reusable()
        {
            let Backend { slot, server, .. } = &*self.backend;
            self.upstreams.h1_pool.put(*slot, server.address, upstream);
        }
    }

    /// The response broke off.
    pub(crate) fn fail(self) {
        self.service.count_failed();
        log_failure(&self.service, Fault::BrokeOff);
    }

    /// The connection after `101 Switching Protocols`. The admission goes with it.
    pub(crate) async fn into_switched(
        self,
        timeouts: RelayTimeouts,
    ) -> Option<Box<UpgradedBackend>> {
        let Carrier::Own(upstream) = self.carrier else {
            return None;
        };
        let backend = upstream.into_stream().await?;
        let (server, upstreams, admission) = (self.backend, self.upstreams, self.admission);
        Some(Box::new(UpgradedBackend { backend, server, upstreams, admission, timeouts }))
    }
}

/// The backend's side of an upgraded connection.
pub(crate) struct UpgradedBackend {
    pub server: Arc<Backend>,
    pub upstreams: Rc<Upstreams>,
    pub backend: (TcpStream, Bytes),
    /// Counted until the upgraded connection has ended.
    pub admission: Admission,
    pub timeouts: RelayTimeouts,
}
