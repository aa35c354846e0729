//! The API: its routes, and one connection of it.

mod body;
mod conditions;
mod context;
mod events;
mod objects;
mod observe;
mod orders;
mod peer;
mod refusal;
mod streams;
#[cfg(test)]
mod tests;
mod thread;

use std::{pin::pin, time::Duration};

use axum::{
    Json, Router,
    extract::Request,
    http::{Method, StatusCode, Uri},
    middleware,
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::UnixStream, time};
use tower::ServiceExt as _;
use tracing::debug;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    context::{Context, StatusSource},
    events::{Event, EventFeed},
    objects::{Changed, ObjectList},
    orders::{OrderBody, OrderList},
    thread::ApiThread,
};
use self::{peer::Peer, refusal::Refused};

/// For a request's header section.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection: longer than any client waits for its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(400);
/// Bytes of a request's header section.
const MAX_HEADERS: usize = 16 * 1024;

/// The API of the `lb` load balancer: what is configured, what runs, and orders to it.
#[derive(OpenApi)]
#[openapi(info(title = "lb"))]
struct Document;

/// The routes, and the document that describes them.
pub(super) fn routes(context: Context) -> (Router, utoipa::openapi::OpenApi) {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(observe::status))
        .routes(routes!(observe::reload))
        .routes(routes!(observe::upgrade))
        .routes(routes!(observe::drain))
        .routes(routes!(observe::flows))
        .routes(routes!(observe::explain))
        .routes(routes!(observe::trace))
        .routes(routes!(observe::events))
        .routes(routes!(objects::change))
        .routes(routes!(orders::list))
        .routes(routes!(orders::give, orders::take_back))
        .routes(routes!(objects::list))
        .routes(routes!(objects::get, objects::put, objects::patch, objects::delete))
        .split_for_parts();
    let served = document.clone();
    let router = router
        .route("/v1/openapi.json", axum::routing::get(async || Json(served)))
        .fallback(unknown)
        .method_not_allowed_fallback(refuse_method)
        .layer(middleware::from_fn_with_state(context.clone(), peer::check))
        .with_state(context);
    (router, document)
}

async fn unknown(uri: Uri) -> Refused {
    Refused::missing(format!("there is no {}: /v1/openapi.json says what there is", uri.path()))
}

async fn refuse_method(method: Method, uri: Uri) -> Refused {
    let detail = format!("no {method} of {}", uri.path());
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
}

/// Answers the requests of one connection.
pub(super) async fn serve_connection(stream: UnixStream, router: Router) {
    let peer = stream.peer_cred().ok();
    let peer = peer.map(|it| Peer { uid: it.uid(), gid: it.gid(), pid: it.pid() });
    let lasting = std::sync::atomic::AtomicBool::new(false);
    let lasts = &lasting;
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let path = request.uri().path();
        lasts.store(
            path == "/v1/trace" || path == "/v1/events",
            std::sync::atomic::Ordering::Relaxed,
        );
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        answer(router.clone(), request.map(axum::body::Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        match time::timeout(CONNECTION_TIMEOUT, &mut connection).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return debug!(%error, "admin connection failed"),
            Err(_) if lasting.load(std::sync::atomic::Ordering::Relaxed) => {}
            Err(_) => return debug!("admin connection took too long"),
        }
    }
}

async fn answer(router: Router, request: Request) -> Result<Response, std::convert::Infallible> {
    router.oneshot(request).await
}
