//! A client's request: to whom, with which headers, and what comes back.

use std::{rc::Rc, sync::Arc};

use hyper::{
    Request, Response, StatusCode, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderValue},
};
use tokio::net::TcpStream;

use super::{
    answer::{Fault, moved},
    body::{RequestBody, ResponseBody},
    exchange::{Exchange, count, count_failed},
    headers, host,
    http::Client,
    limits::Admission,
    redirect,
    replay::Replayable,
    routes::Site,
    watch::{Active, Watch},
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
    let own = |response: Response<Bytes>, active| {
        (response.map(|text| ResponseBody::own(text, active)), None)
    };
    let site = match site(client, &request) {
        Ok(site) => site,
        Err(fault) => return own(fault.answer(client.facts.names()), active),
    };
    count(&site);
    if site.force_https && !client.facts.is_https(request.headers()) {
        let host = host::of(&request).expect("a site was found by it");
        return own(moved(redirect::to_https(&host, request.uri())), active);
    }
    match forward(client, &site, request, active.watch()).await {
        Ok(exchange) => deliver(exchange, active).await,
        Err(fault) => {
            if fault.is_ours() {
                count_failed(&site);
            }
            own(fault.answer(client.facts.names()), active)
        }
    }
}

fn site<B>(client: &Client, request: &Request<B>) -> Result<Arc<Site>, Fault> {
    if request.method() == hyper::Method::CONNECT {
        return Err(Fault::Tunnel);
    }
    let host = host::of(request).ok_or(Fault::BadHost)?;
    let site = client.site(host.name()).ok_or(Fault::UnknownHost)?;
    if client.is_entitled(&site) { Ok(site) } else { Err(Fault::Misdirected) }
}

async fn forward(
    client: &Rc<Client>,
    site: &Arc<Site>,
    mut request: Request<Incoming>,
    watch: &Rc<Watch>,
) -> Result<Exchange, Fault> {
    host::to_origin_form(&mut request);
    *request.version_mut() = Version::HTTP_11;
    let has_length = request.body().size_hint().exact().is_some();
    let headers = request.headers_mut();
    headers::towards_backend(headers, &client.facts);
    if !has_length {
        // Two ways to frame one body are how requests are smuggled (RFC 9112 6.3). Said aloud,
        // because hyper takes a GET without either for one without a body.
        headers.remove(header::CONTENT_LENGTH);
        let chunked = HeaderValue::from_static("chunked");
        headers.insert(header::TRANSFER_ENCODING, chunked);
    }
    let heeded = site.balancer.heeds_wishes();
    let wish = if heeded { wish(headers, client.facts.names()) } else { Wish::NONE };
    let request = request.map(|body| RequestBody::new(body, watch));
    Replayable::new(client, watch, request).send(site, &wish).await
}

async fn deliver(exchange: Exchange, active: Active) -> Answer {
    let Exchange { mut response, lease, .. } = exchange;
    let is_switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    headers::towards_client(response.headers_mut(), is_switching);
    if !is_switching {
        return (response.map(|body| ResponseBody::backend(body, lease, active)), None);
    }
    let switched = lease.into_switched().await;
    (response.map(|_| ResponseBody::own(Bytes::new(), active)), switched)
}
