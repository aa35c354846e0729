//! One request to a backend: pick, connect, send; another backend where the first cannot be
//! reached, another connection where a kept one turns out dead.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{self, HeaderValue},
};
use tokio::time::Instant;

use super::{
    attempts::Tries,
    h1::connection::{Failure, Upstream},
    h2::exchange,
    latency_probe::Stopwatch,
    lease::{Carrier, Lease},
    outcome::{Answered, Refusal, by},
    request_copy::Spare,
    upstreams::Upstreams,
};
use crate::proxy::{
    downstream::request_body::{Progress, RequestBody},
    http::{fault::Fault, headers::Names},
    routing::routes::Site,
};
use crate::{balance::Wish, fleet::Backend};

const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// A response whose header has arrived, and whose it is.
pub(crate) struct Exchange {
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
pub(crate) struct Course<'a> {
    pub upstreams: &'a Rc<Upstreams>,
    pub names: &'a Names,
    /// The client.
    pub peer: IpAddr,
    pub wish: &'a Wish,
    /// A backend is to be reached within. `None`: as the settings say.
    pub within: Option<Duration>,
}

/// Sends `request`, of which `spare` is a copy, to a backend of `site`.
pub(crate) async fn exchange(
    site: &Arc<Site>,
    course: &Course<'_>,
    spare: &mut Spare<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Exchange, Fault> {
    let (upstreams, service) = (course.upstreams, site.running());
    let is_shared = exchange::shares(site, &request);
    let is_free = |slot| is_shared && upstreams.http2.is_counted(slot);
    let deadline = course.within.map(|within| Instant::now() + within);
    let mut tries = Tries::new(upstreams, site, course.peer, course.wish);
    loop {
        let admitted = by(deadline, tries.next(&is_free)).await;
        let admitted = admitted.unwrap_or_else(|| Err(tries.why(Fault::ReplayTimeout)));
        let (index, mut admission) = admitted?;
        let backend = &service.backends[index];
        if is_shared {
            admission.share(|permit| upstreams.http2.count(backend.slot, permit));
        }
        note_missed(course, backend, request.headers_mut(), spare);
        let stopwatch = Stopwatch::start(site);
        let sent = if exchange::takes(site, &request) {
            let address = backend.server.address;
            Box::pin(exchange::send(upstreams, address, deadline, spare, request)).await
        } else {
            send(upstreams, backend, deadline, spare, request).await
        };
        match sent {
            Ok(Answered { response, carrier, progress }) => {
                stopwatch.answered(backend, response.status().as_u16(), progress.as_deref());
                let (upstreams, service) = (upstreams.clone(), service.clone());
                let lease = Lease::new(carrier, backend.clone(), upstreams, service, admission);
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
    course: &Course<'_>,
    backend: &Backend,
    headers: &mut HeaderMap,
    spare: &mut Spare<'_>,
) {
    let Some(id) = course.wish.preferred_instance() else {
        return;
    };
    let name = &course.names.preferred_instance_unavailable;
    let missed = HeaderValue::from_str(id).ok();
    let missed = missed.filter(|_| backend.server.instance.as_deref() != Some(id));
    headers.remove(name);
    if let Some(id) = &missed {
        headers.insert(name.clone(), id.clone());
    }
    spare.set(name, missed);
}

async fn send(
    upstreams: &Upstreams,
    backend: &Backend,
    deadline: Option<Instant>,
    spare: &Spare<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let address = backend.server.address;
    if request.body().is_held() {
        request.headers_mut().insert(header::EXPECT, CONTINUE);
    }
    if let Some(kept) = upstreams.pools.take(backend.slot, address) {
        request = match send_over(upstreams, kept, request).await {
            Ok(answered) => return Ok(answered),
            Err(Failure::Unsent(unsent)) => unsent,
            Err(Failure::Closed) => spare.again().ok_or(Refusal::Final(Fault::Closed))?,
            Err(failure) => return Err(Refusal::Final((&failure).into())),
        };
    }
    Box::pin(send_fresh(upstreams, address, deadline, request)).await
}

async fn send_fresh(
    upstreams: &Upstreams,
    address: SocketAddr,
    deadline: Option<Instant>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    let dialled = by(deadline, upstreams.dialer.dial(address)).await;
    let opened = match dialled.ok_or(Refusal::Final(Fault::ReplayTimeout))? {
        Ok(stream) => Upstream::open(stream).await.map_err(|_| Fault::Unreachable),
        Err(fault) => Err(fault),
    };
    let fresh = match opened {
        Ok(fresh) => fresh,
        Err(fault) => return Err(Refusal::Elsewhere(request, fault)),
    };
    match send_over(upstreams, fresh, request).await {
        Ok(answered) => Ok(answered),
        Err(Failure::Unsent(unsent)) => Err(Refusal::Elsewhere(unsent, Fault::Closed)),
        Err(failure) => Err(Refusal::Final((&failure).into())),
    }
}

async fn send_over(
    upstreams: &Upstreams,
    mut upstream: Box<Upstream>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, Failure> {
    let progress = request.body().progress();
    let response = upstream.send(request, upstreams.allowance()).await?;
    Ok(Answered { response, carrier: Carrier::Own(upstream), progress })
}
