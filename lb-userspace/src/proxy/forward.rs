//! A client's request: to whom, with which headers, and what comes back.

use std::{rc::Rc, sync::Arc};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderValue},
};
use tokio::{net::TcpStream, time::timeout_at};

use super::{
    answer::{Fault, moved},
    body::{RequestBody, ResponseBody},
    complaint::complain,
    exchange::{Exchange, count, count_failed},
    framing, headers, host,
    http::Client,
    http2, interim,
    limits::Admission,
    redirect,
    replay::Replayable,
    routes::Site,
    watch::Active,
    wish::wish,
};
use crate::balance::Wish;

/// The backend's side of an upgraded connection.
pub(super) struct Switched {
    pub backend: (TcpStream, Bytes),
    /// Counted until the upgraded connection has ended.
    pub admission: Admission,
}

type Answer = (Response<ResponseBody>, Option<Switched>);

/// Answers one request, by a backend or by ourselves.
pub(super) async fn answer(
    client: &Rc<Client>,
    request: Request<Incoming>,
    active: Active,
) -> Answer {
    let version = request.version();
    let own = |response: Response<Bytes>, active| {
        (response.map(|text| ResponseBody::own(text, active)), None)
    };
    let sound = framing::check(&request, active.seen);
    let site = match sound.and_then(|()| site(client, &request)) {
        Ok(site) => site,
        Err(fault) => return own(client.refuse(fault, version), active),
    };
    count(&site);
    if site.force_https && !client.facts.is_https(request.headers()) {
        let host = host::of(&request).expect("a site was found by it");
        return own(moved(redirect::to_https(&host, request.uri())), active);
    }
    match forward(client, &site, request, &active).await {
        Ok(forwarded) => deliver(client, &site, forwarded, active).await,
        Err(fault) => {
            if fault.is_ours() {
                count_failed(&site);
                complain(site.running(), fault);
            }
            own(client.refuse(fault, version), active)
        }
    }
}

fn site<B>(client: &Client, request: &Request<B>) -> Result<Arc<Site>, Fault> {
    if request.method() == hyper::Method::CONNECT {
        return Err(Fault::Tunnel);
    }
    let host = host::of(request).ok_or(Fault::BadHost)?;
    let site = client.site(host.name())?;
    if client.is_entitled(&site) { Ok(site) } else { Err(Fault::Misdirected) }
}

/// A response, and whether its request asked to switch protocols.
type Forwarded = (Exchange, bool);

async fn forward(
    client: &Rc<Client>,
    site: &Arc<Site>,
    mut request: Request<Incoming>,
    active: &Active,
) -> Result<Forwarded, Fault> {
    let worker = &client.worker;
    host::to_origin_form(&mut request);
    let version = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let length = request.body().size_hint().exact();
    let headers = request.headers_mut();
    let asked = headers::towards_backend(headers, &client.facts);
    // By HTTP/1.1 trailers follow chunks alone.
    framing::frame(headers, length.filter(|&length| length == 0 || !asked.trailers));
    let allowed = worker.settings.max_request_body;
    let mut request = request.map(|body| RequestBody::new(body, active.watch(), allowed));
    if request.body().is_too_large() {
        return Err(Fault::BodyTooLarge);
    }
    let is_heard = !http2::takes(site, &request);
    let holds = asked.word && version > Version::HTTP_10 && is_heard;
    let word = if holds { request.body_mut().hold() } else { None };
    let outbox = (version == Version::HTTP_11 && is_heard).then(|| active.watch().outbox());
    interim::listen(&mut request, word, outbox);
    let heeded = site.balancer.heeds_wishes();
    let names = client.facts.names();
    let wish = if heeded { wish(request.headers(), names) } else { Wish::NONE };
    let progress = request.body().progress();
    let mut replayable = Replayable::new(client, active.watch(), request);
    let exchange = replayable.send(site, &wish);
    let timed = active.pace.as_ref().and_then(|pace| Some((pace, pace.deadline()?)));
    let Some((pace, deadline)) = timed else {
        return Ok((exchange.await?, asked.upgrade));
    };
    let is_clients = || progress.is_some_and(|progress| progress.waits_for_client());
    let late = |_| {
        // The answer that says so has time again.
        pace.end();
        if is_clients() { Fault::SlowBody } else { Fault::SlowResponse }
    };
    let exchange = timeout_at(deadline, exchange).await.map_err(late)??;
    Ok((exchange, asked.upgrade))
}

async fn deliver(
    client: &Client,
    site: &Site,
    (exchange, is_upgrade): Forwarded,
    active: Active,
) -> Answer {
    let Exchange { mut response, lease, is_bodiless, .. } = exchange;
    let is_switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    // Ours, whatever the backend's is (RFC 9110 2.5). hyper lowers it for a client that asks it to.
    *response.version_mut() = Version::HTTP_11;
    headers::towards_client(response.headers_mut(), is_switching);
    site.rewrite.apply(response.headers_mut());
    client.date(site, response.headers_mut());
    if is_bodiless && active.watch().is_http1() {
        // The body may come or not: nobody knows where another request would begin.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if !is_switching {
        return (response.map(|body| ResponseBody::backend(body, lease, active)), None);
    }
    let switched = if is_upgrade { lease.into_switched().await } else { None };
    if switched.is_none() {
        count_failed(site);
        complain(site.running(), Fault::BadResponse);
        let refusal = client.refuse(Fault::BadResponse, Version::HTTP_11);
        return (refusal.map(|text| ResponseBody::own(text, active)), None);
    }
    if let Some(pace) = &active.pace {
        pace.end();
    }
    (response.map(|_| ResponseBody::own(Bytes::new(), active)), switched)
}
