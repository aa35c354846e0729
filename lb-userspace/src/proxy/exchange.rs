//! One request to a backend: pick, connect, send; another backend where the first cannot be
//! reached, another connection where a kept one turns out dead.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use hyper::{Request, Response, body::Incoming};

use super::{
    answer::Fault,
    body::RequestBody,
    http2,
    lease::{self, Lease},
    routes::Site,
    upstream::{Allowance, Failure, Upstream, dial},
    worker::Worker,
};
use crate::{balance::Ask, fleet::Backend};

/// Backends tried for one request or connection.
pub(super) const ATTEMPTS: usize = 3;

/// A response whose header has arrived.
pub(super) struct Exchange {
    pub response: Response<Incoming>,
    pub lease: Lease,
}

/// Why a backend did not take the request.
pub(super) enum Refusal {
    /// Another backend may.
    Elsewhere(Box<Request<RequestBody>>, Fault),
    Final(Fault),
}

/// Sends `request` to a backend of `site`.
pub(super) async fn exchange(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    client: std::net::IpAddr,
    mut request: Request<RequestBody>,
) -> Result<Exchange, Fault> {
    let service = site.running();
    let mut tried = Vec::new();
    let mut fault = None;
    while tried.len() < ATTEMPTS {
        let ask = Ask { load: &worker.load, client, tried: &tried };
        let index = match site.balancer.pick(&ask, &mut worker.rng.borrow_mut()) {
            Ok(index) => index,
            Err(unavailable) => return Err(fault.unwrap_or(unavailable.into())),
        };
        let backend = &service.backends[index];
        let permit = lease::enter(&worker.load, backend);
        let sent = if http2::takes(site, &request) {
            let address = backend.server.address;
            http2::send(worker, address, request).await.map(|response| (response, None))
        } else {
            let sent = send(worker, backend, request).await;
            sent.map(|(response, upstream)| (response, Some(upstream)))
        };
        match sent {
            Ok((response, upstream)) => {
                let (backend, service) = (backend.clone(), service.clone());
                let lease = Lease::new(upstream, backend, worker.clone(), service, permit);
                return Ok(Exchange { response, lease });
            }
            Err(Refusal::Elsewhere(unsent, why)) => {
                request = *unsent;
                fault = Some(why);
                tried.push(index);
            }
            Err(Refusal::Final(fault)) => return Err(fault),
        }
    }
    Err(fault.unwrap_or(Fault::Unreachable))
}

async fn send(
    worker: &Rc<Worker>,
    backend: &Backend,
    mut request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Upstream), Refusal> {
    let address = backend.server.address;
    if let Some(kept) = worker.pools.take(backend.slot, address) {
        let spare = replica(&request);
        request = match send_over(worker, kept, request).await {
            Ok(answered) => return Ok(answered),
            Err(Failure::Unsent(unsent)) => *unsent,
            Err(Failure::Closed) => spare.ok_or(Refusal::Final(Fault::Closed))?,
            Err(failure) => return Err(Refusal::Final(fault(&failure))),
        };
    }
    let opened = match dial(address, &worker.settings).await {
        Ok(stream) => Upstream::open(stream).await.map_err(|_| Fault::Unreachable),
        Err(error) => Err(dial_fault(address, &error)),
    };
    let fresh = match opened {
        Ok(fresh) => fresh,
        Err(fault) => return Err(Refusal::Elsewhere(Box::new(request), fault)),
    };
    match send_over(worker, fresh, request).await {
        Ok(answered) => Ok(answered),
        Err(Failure::Unsent(unsent)) => Err(Refusal::Elsewhere(unsent, Fault::Closed)),
        Err(failure) => Err(Refusal::Final(fault(&failure))),
    }
}

async fn send_over(
    worker: &Rc<Worker>,
    mut upstream: Upstream,
    request: Request<RequestBody>,
) -> Result<(Response<Incoming>, Upstream), Failure> {
    let progress = request.body().progress();
    let response = upstream.send(request, allowance(worker)).await?;
    if progress.is_some_and(|progress| !progress.is_done()) {
        upstream.detach();
    }
    Ok((response, upstream))
}

pub(super) fn allowance(worker: &Worker) -> Allowance {
    Allowance {
        response_header: worker.settings.response_header_timeout,
        body_progress: worker.settings.idle_timeout,
    }
}

/// A copy to send again, where sending twice does no harm (RFC 9110 9.2.2) and nothing of a body
/// is lost.
pub(super) fn replica(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.method().is_idempotent() || request.body().progress().is_some() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

pub(super) fn fault(failure: &Failure) -> Fault {
    match failure {
        Failure::Unsent(_) | Failure::Closed => Fault::Closed,
        Failure::Body(fault) => *fault,
        Failure::SlowBody => Fault::SlowBody,
        Failure::Malformed => Fault::BadResponse,
        Failure::Overdue => Fault::SlowResponse,
    }
}

pub(super) fn dial_fault(address: SocketAddr, error: &std::io::Error) -> Fault {
    tracing::debug!(backend = %address, %error, "cannot connect");
    if error.kind() == std::io::ErrorKind::TimedOut { Fault::SlowDial } else { Fault::Unreachable }
}

/// Counts a request or connection that `site` takes.
pub(super) fn count(site: &Site) {
    site.running().requests.fetch_add(1, Ordering::Relaxed);
}

/// Counts one that it failed.
pub(super) fn count_failed(site: &Site) {
    site.running().failed.fetch_add(1, Ordering::Relaxed);
}
