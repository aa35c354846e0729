//! HTTP/2 without TLS to backends (RFC 9113 3.3): many requests share a connection, so that it has
//! tasks of its own.

use std::{future::poll_fn, net::SocketAddr, pin::pin, task::Poll};

use h2::Reason;
use hyper::{Request, Uri, Version, header};
use tokio::time::Instant;

use super::pool::H2Stream;
use crate::proxy::{
    downstream::request_body::{BodyProgress, RequestBody},
    http::fault::Fault,
    net::timer::LazyTimer,
    routing::routes::Site,
    upstream::{
        h1::connection::{ResponseClock, SendFailure},
        lease::Carrier,
        outcome::{Answered, AttemptError, before},
        request_copy::RequestCopy,
        upstreams::Upstreams,
    },
};
use crate::service::ConcurrencyKind;

/// Times that a request is sent to one server, where it did nothing about the earlier ones.
const MOST: usize = 3;

/// Whether `request` goes to `site`'s backends by HTTP/2. An upgrade does not: it is a thing of
/// HTTP/1.1.
pub(crate) fn takes(site: &Site, request: &Request<RequestBody>) -> bool {
    site.h2_backend && !request.headers().contains_key(header::UPGRADE)
}

/// Whether all such requests of a worker to one backend count as one connection there.
pub(crate) fn shares(site: &Site, request: &Request<RequestBody>) -> bool {
    let kind = || site.running().service.concurrency.kind;
    takes(site, request) && kind() == ConcurrencyKind::Connections
}

/// Sends `request`, which has HTTP/1.1's form, and awaits the response's header section.
pub(crate) async fn send(
    upstreams: &Upstreams,
    address: SocketAddr,
    deadline: Option<Instant>,
    copy: &RequestCopy<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answered, AttemptError> {
    let mut why = Fault::Closed;
    let mut was_repeated = false;
    for _ in 0..MOST {
        let is_upload = request.body().progress().is_some();
        let stream = upstreams.h2_pool.stream(&upstreams.dialer, address, is_upload);
        let stream = match before(deadline, stream)
            .await
            .ok_or(AttemptError::Final(Fault::ReplayTimeout))?
        {
            Ok(stream) => stream,
            Err(fault) => return Err(AttemptError::Elsewhere(request, fault)),
        };
        readdress(&mut request).ok_or(AttemptError::Final(Fault::BadHost))?;
        let was_kept = stream.is_kept();
        request = match send_over(upstreams, stream, request).await {
            Ok(answered) => return Ok(answered),
            Err(SendFailure::Unsent(unsent)) => restored(unsent),
            Err(SendFailure::Refused) => {
                why = Fault::Refused;
                copy.whole().await.map_err(|fault| AttemptError::Final(of_lost_body(fault)))?
            }
            // As by HTTP/1, once: the connection may have been closed before the request came.
            Err(SendFailure::Closed) if was_kept && !was_repeated => {
                was_repeated = true;
                copy.again().ok_or(AttemptError::Final(Fault::Closed))?
            }
            Err(failure) => return Err(AttemptError::Final((&failure).into())),
        };
    }
    Err(AttemptError::Elsewhere(request, why))
}

/// The server did nothing, and so did we: the client may send the request again.
fn of_lost_body(fault: Fault) -> Fault {
    if fault == Fault::ReplayTooLarge { Fault::Refused } else { fault }
}

async fn send_over(
    upstreams: &Upstreams,
    stream: H2Stream,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, SendFailure> {
    let progress = request.body().progress();
    if let Some(progress) = &progress {
        // The stream is open until all of the body is sent, too.
        progress.hold(stream.held());
        stream.connection().uploads.add(progress);
    }
    let mut clock = ResponseClock::new(progress.clone(), upstreams.response_timeouts());
    let mut timer = LazyTimer::default();
    let mut sender = stream.sender();
    let mut sending = pin!(sender.try_send_request(*request));
    let sent = poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(sent));
        }
        timer.poll(cx, clock.deadline()).map(|()| Err(clock.late()))
    });
    let sent = sent.await?;
    let response = sent.map_err(|mut error| match error.take_message() {
        Some(request) => SendFailure::Unsent(Box::new(request)),
        None => failure(&error.into_error(), progress.as_deref(), &stream),
    })?;
    let carrier = Carrier::Shared { _stream: stream };
    Ok(Answered { response: Box::new(response), carrier, progress })
}

/// Why no response came over `stream`.
fn failure(
    error: &hyper::Error,
    progress: Option<&BodyProgress>,
    stream: &H2Stream,
) -> SendFailure {
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<h2::Error>());
    match cause.filter(|cause| cause.is_remote()) {
        // Its number is above the last one that the server says it has looked at.
        Some(cause) if cause.is_go_away() => {
            stream.connection().end();
            SendFailure::Refused
        }
        Some(cause) if cause.reason() == Some(Reason::REFUSED_STREAM) => {
            stream.connection().refused();
            SendFailure::Refused
        }
        _ => match SendFailure::classify(error, progress) {
            // The server had the request, and may have done something.
            SendFailure::Closed if cause.is_some_and(h2::Error::is_reset) => SendFailure::Reset,
            failure => failure,
        },
    }
}

/// From HTTP/1.1's form to HTTP/2's: the authority is in the target, and nothing speaks of the
/// connection (RFC 9113 8.2.2).
fn readdress(request: &mut Request<RequestBody>) -> Option<()> {
    let headers = request.headers_mut();
    let host = headers.remove(header::HOST)?;
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = Uri::builder().scheme("http").authority(host.as_bytes()).path_and_query(path);
    *request.uri_mut() = target.build().ok()?;
    *request.version_mut() = Version::HTTP_2;
    Some(())
}

/// The form that the request came in, for the next backend.
fn restored(mut request: Box<Request<RequestBody>>) -> Box<Request<RequestBody>> {
    crate::proxy::http::host::to_origin_form(&mut request);
    *request.version_mut() = Version::HTTP_11;
    request
}
