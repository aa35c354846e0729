//! One request to a backend: pick, connect, send; another backend where the first cannot be
//! reached, another connection where a kept one turns out dead.

use std::{
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use super::{
    answer::Fault,
    body::{Progress, RequestBody},
    http::Client,
    http2,
    lease::{Carrier, Lease},
    routes::Site,
    spare::Spare,
    stopwatch::Stopwatch,
    tries::Tries,
    upstream::{Allowance, Failure, Upstream, dial},
    worker::Worker,
};
use crate::{
    balance::Wish,
    fleet::Backend,
    lack::{Cause, Undone},
};

const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// A response whose header has arrived, and whose it is.
pub(super) struct Exchange {
    pub response: Box<Response<Incoming>>,
    pub lease: Lease,
    progress: Option<Rc<Progress>>,
    /// The backend answered instead of asking for the body.
    pub is_bodiless: bool,
}

impl Exchange {
    /// This is the response that the client gets, even while it is still sending its request.
    pub fn settle(mut self) -> Self {
        if let Some(progress) = self.progress.take() {
            self.is_bodiless = progress.is_unwanted(self.response.status().is_success());
            if !self.is_bodiless && !progress.is_done() {
                self.lease.detach();
            }
        }
        self
    }
}

/// What a request goes by beside the service.
pub(super) struct Course<'a> {
    pub wish: &'a Wish,
    /// A backend is to be reached within. `None`: as the settings say.
    pub within: Option<Duration>,
}

pub(super) struct Answered {
    pub response: Box<Response<Incoming>>,
    pub carrier: Carrier,
    pub progress: Option<Rc<Progress>>,
}

/// Why a backend did not take the request.
pub(super) enum Refusal {
    /// Another backend may.
    Elsewhere(Box<Request<RequestBody>>, Fault),
    Final(Fault),
}

/// Sends `request`, of which `spare` is a copy, to a backend of `site`.
pub(super) async fn exchange(
    client: &Client,
    site: &Arc<Site>,
    course: &Course<'_>,
    spare: &mut Spare<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Exchange, Fault> {
    let (worker, service, wish) = (&client.worker, site.running(), course.wish);
    let is_shared = http2::shares(site, &request);
    let is_free = |slot| is_shared && worker.http2.is_counted(slot);
    let deadline = course.within.map(|within| Instant::now() + within);
    let mut tries = Tries::new(worker, site, client.peer, wish);
    loop {
        let admitted = by(deadline, tries.next(&is_free)).await;
        let admitted = admitted.unwrap_or_else(|| Err(tries.why(Fault::ReplayTimeout)));
        let (index, mut admission) = admitted?;
        let backend = &service.backends[index];
        if is_shared {
            admission.share(|permit| worker.http2.count(backend.slot, permit));
        }
        note_missed(client, wish, backend, request.headers_mut(), spare);
        let stopwatch = Stopwatch::start(site);
        let sent = if http2::takes(site, &request) {
            let address = backend.server.address;
            Box::pin(http2::send(worker, address, deadline, spare, request)).await
        } else {
            send(worker, backend, deadline, spare, request).await
        };
        match sent {
            Ok(Answered { response, carrier, progress }) => {
                stopwatch.answered(backend, response.status().as_u16(), progress.as_deref());
                let (worker, service) = (worker.clone(), service.clone());
                let lease = Lease::new(carrier, backend.clone(), worker, service, admission);
                return Ok(Exchange { response, lease, progress, is_bodiless: false });
            }
            Err(Refusal::Elsewhere(unsent, why)) => {
                request = unsent;
                stopwatch.failed(backend, why);
                tries.failed(index, admission, why);
            }
            Err(Refusal::Final(fault)) => {
                stopwatch.failed(backend, fault);
                return Err(fault);
            }
        }
    }
}

/// Tells the backend that another was preferred.
fn note_missed(
    client: &Client,
    wish: &Wish,
    backend: &Backend,
    headers: &mut HeaderMap,
    spare: &mut Spare<'_>,
) {
    let Some(id) = wish.preferred_instance() else {
        return;
    };
    let name = &client.facts.names().preferred_instance_unavailable;
    let missed = HeaderValue::from_str(id).ok();
    let missed = missed.filter(|_| backend.server.instance.as_deref() != Some(id));
    headers.remove(name);
    if let Some(id) = &missed {
        headers.insert(name.clone(), id.clone());
    }
    spare.set(name, missed);
}

/// `None`: not by the deadline.
pub(super) async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => timeout_at(deadline, work).await.ok(),
    }
}

async fn send(
    worker: &Rc<Worker>,
    backend: &Backend,
    deadline: Option<Instant>,
    spare: &Spare<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let address = backend.server.address;
    if request.body().is_held() {
        request.headers_mut().insert(header::EXPECT, CONTINUE);
    }
    if let Some(kept) = worker.pools.take(backend.slot, address) {
        request = match send_over(worker, kept, request).await {
            Ok(answered) => return Ok(answered),
            Err(Failure::Unsent(unsent)) => unsent,
            Err(Failure::Closed) => spare.again().ok_or(Refusal::Final(Fault::Closed))?,
            Err(failure) => return Err(Refusal::Final(fault(&failure))),
        };
    }
    Box::pin(send_fresh(worker, address, deadline, request)).await
}

async fn send_fresh(
    worker: &Rc<Worker>,
    address: SocketAddr,
    deadline: Option<Instant>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let dialled = by(deadline, dial(address, worker)).await;
    let opened = match dialled.ok_or(Refusal::Final(Fault::ReplayTimeout))? {
        Ok(stream) => Upstream::open(stream).await.map_err(|_| Fault::Unreachable),
        Err(error) => Err(dial_fault(worker, address, &error)),
    };
    let fresh = match opened {
        Ok(fresh) => fresh,
        Err(fault) => return Err(Refusal::Elsewhere(request, fault)),
    };
    match send_over(worker, fresh, request).await {
        Ok(answered) => Ok(answered),
        Err(Failure::Unsent(unsent)) => Err(Refusal::Elsewhere(unsent, Fault::Closed)),
        Err(failure) => Err(Refusal::Final(fault(&failure))),
    }
}

async fn send_over(
    worker: &Rc<Worker>,
    mut upstream: Box<Upstream>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, Failure> {
    let progress = request.body().progress();
    let response = upstream.send(request, allowance(worker)).await?;
    Ok(Answered { response, carrier: Carrier::Own(upstream), progress })
}

pub(super) fn allowance(worker: &Worker) -> Allowance {
    Allowance { response_header: worker.settings.response_header_timeout }
}

pub(super) fn fault(failure: &Failure) -> Fault {
    match failure {
        Failure::Unsent(_) | Failure::Closed | Failure::Reset => Fault::Closed,
        Failure::Refused => Fault::Refused,
        Failure::Body(fault) => *fault,
        Failure::SlowBody => Fault::SlowBody,
        Failure::Malformed => Fault::BadResponse,
        Failure::TooLarge => Fault::LargeResponse,
        Failure::Overdue => Fault::SlowResponse,
    }
}

pub(super) fn dial_fault(worker: &Worker, address: SocketAddr, error: &std::io::Error) -> Fault {
    tracing::debug!(backend = %address, %error, "cannot connect");
    if Cause::of(error) == Cause::Resource {
        if let Some(others) = worker.descriptors.lacks.note(Undone::Dial) {
            tracing::warn!(backend = %address, %error, others, "this host lacks what it takes to connect");
        }
        return Fault::OutOfSockets;
    }
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
