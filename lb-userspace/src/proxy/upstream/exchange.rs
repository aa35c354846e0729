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
    attempts::Attempts,
    h1::connection::{H1Connection, SendFailure},
    h2::exchange,
    latency_probe::LatencyProbe,
    lease::{Carrier, Lease},
    outcome::{Answered, AttemptError, before},
    request_copy::RequestCopy,
    upstreams::Upstreams,
};
use crate::proxy::{
    downstream::request_body::{BodyProgress, RequestBody},
    http::{fault::Fault, headers::HeaderNames},
    routing::routes::Site,
};
use crate::{balance::Preference, fleet::Backend};

const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// A response whose header has arrived, and whose it is.
pub(crate) struct Exchange {
    pub response: Box<Response<Incoming>>,
    pub lease: Lease,
    progress: Option<Rc<BodyProgress>>,
    /// The backend answered instead of asking for the body.
    pub is_bodiless: bool,
}

impl Exchange {
    /// This is the response that the client gets, even while it is still sending its request.
    pub(crate) fn settle(mut self) -> Self {
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
pub(crate) struct RequestContext<'a> {
    pub upstreams: &'a Rc<Upstreams>,
    pub names: &'a HeaderNames,
    /// The client.
    pub peer: IpAddr,
    pub preference: &'a Preference,
    /// A backend is to be reached within. `None`: as the settings say.
    pub within: Option<Duration>,
}

/// Sends `request`, of which `copy` is a copy, to a backend of `site`.
pub(crate) async fn exchange(
    site: &Arc<Site>,
    context: &RequestContext<'_>,
    copy: &mut RequestCopy<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Exchange, Fault> {
    let (upstreams, service) = (context.upstreams, site.running());
    let is_shared = exchange::shares(site, &request);
    let is_free = |slot| is_shared && upstreams.h2_pool.is_counted(slot);
    let deadline = context.within.map(|within| Instant::now() + within);
    let mut attempts = Attempts::new(upstreams, site, context.peer, context.preference);
    loop {
        let admitted = before(deadline, attempts.next(&is_free)).await;
        let admitted = admitted.unwrap_or_else(|| Err(attempts.why(Fault::ReplayTimeout)));
        let (index, mut admission) = admitted?;
        let backend = &service.backends[index];
        if is_shared {
            admission.share(|permit| upstreams.h2_pool.count(backend.slot, permit));
        }
        note_missed(context, backend, request.headers_mut(), copy);
        let latency = LatencyProbe::start(site);
        let sent = if exchange::takes(site, &request) {
            let address = backend.server.address;
            Box::pin(exchange::send(upstreams, address, deadline, copy, request)).await
        } else {
            send(upstreams, backend, deadline, copy, request).await
        };
        match sent {
            Ok(Answered { response, carrier, progress }) => {
                latency.answered(backend, response.status().as_u16(), progress.as_deref());
                let (upstreams, service) = (upstreams.clone(), service.clone());
                let lease = Lease::new(carrier, backend.clone(), upstreams, service, admission);
                return Ok(Exchange { response, lease, progress, is_bodiless: false });
            }
            Err(AttemptError::Elsewhere(unsent, why)) => {
                request = unsent;
                latency.failed(backend, why);
                attempts.failed(index, admission, why);
            }
            Err(AttemptError::Final(fault)) => {
                latency.failed(backend, fault);
                return Err(fault);
            }
        }
    }
}

/// Tells the backend that another was preferred.
fn note_missed(
    context: &RequestContext<'_>,
    backend: &Backend,
    headers: &mut HeaderMap,
    copy: &mut RequestCopy<'_>,
) {
    let Some(id) = context.preference.preferred_instance() else {
        return;
    };
    let name = &context.names.preferred_instance_unavailable;
    let missed = HeaderValue::from_str(id).ok();
    let missed = missed.filter(|_| backend.server.instance.as_deref() != Some(id));
    headers.remove(name);
    if let Some(id) = &missed {
        headers.insert(name.clone(), id.clone());
    }
    copy.set(name, missed);
}

async fn send(
    upstreams: &Upstreams,
    backend: &Backend,
    deadline: Option<Instant>,
    copy: &RequestCopy<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answered, AttemptError> {
    let address = backend.server.address;
    if request.body().is_held() {
        request.headers_mut().insert(header::EXPECT, CONTINUE);
    }
    if let Some(kept) = upstreams.h1_pool.take(backend.slot, address) {
        request = match send_over(upstreams, kept, request).await {
            Ok(answered) => return Ok(answered),
            Err(SendFailure::Unsent(unsent)) => unsent,
            Err(SendFailure::Closed) => copy.again().ok_or(AttemptError::Final(Fault::Closed))?,
            Err(failure) => return Err(AttemptError::Final((&failure).into())),
        };
    }
    Box::pin(send_fresh(upstreams, address, deadline, request)).await
}

async fn send_fresh(
    upstreams: &Upstreams,
    address: SocketAddr,
    deadline: Option<Instant>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, AttemptError> {
    let dialled = before(deadline, upstreams.dialer.dial(address)).await;
    let opened = match dialled.ok_or(AttemptError::Final(Fault::ReplayTimeout))? {
        Ok(stream) => H1Connection::open(stream).await.map_err(|_| Fault::Unreachable),
        Err(fault) => Err(fault),
    };
    let fresh = match opened {
        Ok(fresh) => fresh,
        Err(fault) => return Err(AttemptError::Elsewhere(request, fault)),
    };
    match send_over(upstreams, fresh, request).await {
        Ok(answered) => Ok(answered),
        Err(SendFailure::Unsent(unsent)) => Err(AttemptError::Elsewhere(unsent, Fault::Closed)),
        Err(failure) => Err(AttemptError::Final((&failure).into())),
    }
}

async fn send_over(
    upstreams: &Upstreams,
    mut upstream: Box<H1Connection>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, SendFailure> {
    let progress = request.body().progress();
    let response = upstream.send(request, upstreams.response_timeouts()).await?;
    Ok(Answered { response, carrier: Carrier::Own(upstream), progress })
}
