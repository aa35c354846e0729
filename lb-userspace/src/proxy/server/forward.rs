//! A client's request: to whom, with which headers, and what comes back.

use std::{pin::pin, rc::Rc, sync::Arc};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderValue},
};
use tokio::time::timeout_at;

use super::{client::Client, replay::ReplayableRequest};
use crate::balance::Preference;
use crate::proxy::{
    downstream::{activity::ActiveRequest, interim, request_body::RequestBody},
    http::{
        fault::Fault,
        fields::{self, FoundFields, UnsupportedCoding, is_offered},
        framing, headers, host,
        routing_hints::hints,
    },
    routing::routes::Site,
    upstream::{
        exchange::Exchange,
        failure_log::log_failure,
        h2::exchange,
        lease::{Lease, UpgradedBackend},
        response_body::ResponseBody,
    },
};

type Answer = (Response<ResponseBody>, Option<Box<UpgradedBackend>>);

/// A request that goes to a backend of `site`.
pub(crate) struct ReceivedRequest {
    site: Arc<Site>,
    request: Box<Request<RequestBody>>,
    /// The client's.
    version: Version,
    /// The protocols that it offers to switch to.
    upgrade: Option<Box<HeaderValue>>,
}

/// Looks at a request and readies it to be sent, or says why it will not be. What the answer takes
/// is moved as a pointer: a request is as large as some fifty words.
pub(crate) fn receive(
    client: &Client,
    mut request: Request<Incoming>,
    active: &ActiveRequest,
) -> Result<ReceivedRequest, Box<Response<Bytes>>> {
    let version = request.version();
    let refuse = |fault| Box::new(client.refuse(fault, version));
    let found = FoundFields::in_request(request.headers(), &client.facts.names().prefix);
    framing::check(&request, active.seen, found).map_err(refuse)?;
    let site = site(client, &mut request).map_err(refuse)?;
    site.running().count();
    active.set_idle(site.idle(&client.worker.settings));
    if let Some(redirect) = site.redirect.filter(|_| !client.facts.is_https(request.headers())) {
        let host = host::of(&request).expect("a site was found by it");
        return Err(Box::new(redirect.answer(&host, request.uri())));
    }
    host::to_origin_form(&mut request);
    *request.version_mut() = Version::HTTP_11;
    let length = request.body().size_hint().exact();
    let wants_length = framing::wants_length(request.method());
    let headers = request.headers_mut();
    let asked = headers::towards_backend(headers, found, &client.facts, version);
    if let Some(certificate) = client.certificate(&site) {
        client.facts.certify(headers, certificate);
    }
    // By HTTP/1.1 trailers follow chunks alone.
    let length = length.filter(|&length| length == 0 || !asked.trailers);
    framing::frame(headers, found, wants_length, length);
    let allowed = client.worker.settings.max_request_body;
    let request = request.map(|body| RequestBody::new(body, active.activity(), allowed));
    let mut request = Box::new(request);
    if request.body().is_too_large() {
        return Err(Box::new(failed(client, &site, Fault::BodyTooLarge, version)));
    }
    let is_heard = !exchange::takes(&site, &request);
    let holds = asked.word && version > Version::HTTP_10 && is_heard;
    let word = if holds { request.body_mut().hold() } else { None };
    let outbox = (version == Version::HTTP_11 && is_heard).then(|| active.activity().outbox());
    interim::listen(&mut request, word, outbox);
    Ok(ReceivedRequest { site, request, version, upgrade: asked.upgrade })
}

fn site<B>(client: &Client, request: &mut Request<B>) -> Result<Arc<Site>, Fault> {
    if request.method() == hyper::Method::CONNECT {
        return Err(Fault::Tunnel);
    }
    let site = if host::is_none(request) {
        let site = client.site(None)?;
        host::assume(request, client.server);
        site
    } else {
        let host = host::of(request).ok_or(Fault::BadHost)?;
        client.site(Some(host.name()))?
    };
    if client.is_entitled(&site) { Ok(site) } else { Err(Fault::Misdirected) }
}

/// Answers a request that was [received](receive), by a backend or by ourselves.
pub(crate) async fn answer(
    client: &Rc<Client>,
    received: Result<ReceivedRequest, Box<Response<Bytes>>>,
    active: ActiveRequest,
) -> Answer {
    let ReceivedRequest { site, request, version, upgrade } = match received {
        Ok(errand) => errand,
        Err(refusal) => return (refusal.map(|text| ResponseBody::own(text, active)), None),
    };
    let Exchange { response, lease, is_bodiless, .. } =
        match forward(client, &site, request, &active).await {
            Ok(exchange) => exchange,
            Err(fault) => {
                let refusal = failed(client, &site, fault, version);
                return (refusal.map(|text| ResponseBody::own(text, active)), None);
            }
        };
    let mut response = match readied(client, &site, response) {
        Ok(response) => response,
        Err(UnsupportedCoding) => {
            let refusal = failed(client, &site, Fault::UnknownCoding, version);
            return (refusal.map(|text| ResponseBody::own(text, active)), None);
        }
    };
    if is_bodiless && active.activity().is_http1() {
        // The body may come or not: nobody knows where another request would begin.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Box::pin(switch(client, &site, response, lease, upgrade, active)).await;
    }
    (response.map(|body| ResponseBody::backend(body, lease, active)), None)
}

async fn forward(
    client: &Rc<Client>,
    site: &Arc<Site>,
    request: Box<Request<RequestBody>>,
    active: &ActiveRequest,
) -> Result<Exchange, Fault> {
    let heeded = site.balancer.uses_preferences();
    let names = client.facts.names();
    let preference = if heeded { hints(request.headers(), names) } else { Preference::NONE };
    let progress = request.body().progress();
    let mut replayable = ReplayableRequest::new(client, request);
    let mut exchange = pin!(replayable.send(site, &preference));
    let timed = active
        .request_deadline
        .as_ref()
        .and_then(|request_deadline| Some((request_deadline, request_deadline.deadline()?)));
    let Some((request_deadline, deadline)) = timed else {
        return exchange.await;
    };
    let is_clients = || progress.is_some_and(|progress| progress.waits_for_client());
    let late = |_| {
        // The answer that says so has time again.
        request_deadline.end();
        if is_clients() { Fault::SlowBody } else { Fault::SlowResponse }
    };
    timeout_at(deadline, exchange.as_mut()).await.map_err(late)?
}

/// What the client gets where a request came to nothing.
fn failed(client: &Client, site: &Site, fault: Fault, version: Version) -> Response<Bytes> {
    if fault.is_ours() {
        site.running().count_failed();
        log_failure(site.running(), fault);
    }
    client.refuse(fault, version)
}

/// A backend's response as the client gets it.
fn readied(
    client: &Client,
    site: &Site,
    mut response: Box<Response<Incoming>>,
) -> Result<Box<Response<Incoming>>, UnsupportedCoding> {
    let is_switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    // Ours, whatever the backend's is (RFC 9110 2.5). hyper lowers it for a client that asks it to.
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    fields::towards_client(headers, is_switching)?;
    client.facts.names().disown(headers);
    site.response_headers.apply(headers);
    client.date(site, headers);
    Ok(response)
}

/// The answer to an upgrade, where the request asked for it.
async fn switch(
    client: &Client,
    site: &Site,
    response: Box<Response<Incoming>>,
    lease: Lease,
    offered: Option<Box<HeaderValue>>,
    active: ActiveRequest,
) -> Answer {
    let timeouts = site.timeouts(&client.worker.settings);
    let switched_to = response.headers().get(header::UPGRADE);
    let is_offered = offered.zip(switched_to).is_some_and(|(offered, to)| is_offered(to, &offered));
    let switched = if is_offered { lease.into_switched(timeouts).await } else { None };
    if switched.is_none() {
        let refusal = failed(client, site, Fault::BadResponse, Version::HTTP_11);
        return (refusal.map(|text| ResponseBody::own(text, active)), None);
    }
    if let Some(request_deadline) = &active.request_deadline {
        request_deadline.end();
    }
    (response.map(|_| ResponseBody::own(Bytes::new(), active)), switched)
}
