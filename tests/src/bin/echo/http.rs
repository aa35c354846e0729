//! The HTTP half.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200, or what `/healthz/N` asked for last |
//! | `/status/N` | status N |
//! | `/bytes/N`, `/content/N` | N times `x`; N bytes of [`content`] |
//! | `/delay/MS` | waits first |
//! | `/slow/MS` | so long waits from now on what stands under "everything else" |
//! | `/mirror` | the request's body, as it comes |
//! | `/check` | the length of the request's body, if that is [`content`] |
//! | `/wait`, `/hold` | nothing, or the name and then nothing, until `/release` |
//! | `/held` | how many of these there are |
//! | `/number` | how often it was asked for |
//! | `/upgrade` | 101, and then what comes is echoed |
//! | everything else | what was asked, as JSON |
//!
//! Whatever is asked with `x-replay` is answered with `fly-replay` as that says, unless it comes by
//! one already.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONNECTION, HeaderValue, UPGRADE},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lb_tests::actors::content;
use serde_json::{Value, json};
use tokio::{
    io,
    net::{TcpListener, TcpStream},
};

use super::gate::{Gate, HeldBody};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

struct Server {
    name: String,
    gate: Gate,
    /// Requests for `/number`.
    number: AtomicUsize,
}

pub(crate) async fn serve(listener: TcpListener, name: String) -> Result<()> {
    let server = Arc::new(Server { name, gate: Gate::new(), number: AtomicUsize::new(0) });
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // The peer's hanging up is its business.
        tokio::spawn(connection(server.clone(), stream, peer.to_string()));
    }
}

/// HTTP/1.1, or HTTP/2 where the client begins with that.
async fn connection(server: Arc<Server>, stream: TcpStream, peer: String) -> Result<()> {
    let mut start = [0; 3];
    let length = stream.peek(&mut start).await?;
    let service = service_fn(move |request| answer(server.clone(), request, peer.clone()));
    if start[..length] == *b"PRI" {
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await?;
    } else {
        let mut http = http1::Builder::new();
        // Tests say when a connection ends, however slow they are.
        http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(600));
        http.serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    }
    Ok(())
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
    peer: String,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let goes_on = |headers: &hyper::HeaderMap| {
        headers.contains_key("x-replay") && !headers.contains_key("fly-replay-src")
    };
    let mut response = match path[1..].split_once('/') {
        _ if goes_on(request.headers()) => replay(&request),
        Some((what, number)) => numbered(&server, what, number.parse().unwrap_or_default()).await,
        None => named(&server, &path[1..], request, &peer).await,
    };
    if let Ok(value) = server.name.parse() {
        response.headers_mut().insert("x-backend", value);
    }
    Ok(response)
}

async fn numbered(server: &Server, what: &str, number: u64) -> Response<Body> {
    match what {
        "status" => with_status(u16::try_from(number).unwrap_or_default()),
        "bytes" => text("x".repeat(number as usize)),
        "content" => {
            let mut bytes = vec![0; number as usize];
            content::fill(&mut bytes);
            Response::new(whole(bytes.into()))
        }
        "delay" => {
            tokio::time::sleep(Duration::from_millis(number)).await;
            text(server.name.clone())
        }
        "slow" => {
            server.gate.slowness.store(number, Ordering::Relaxed);
            text(format!("{number} ms from now on\n"))
        }
        "healthz" => {
            let status = u16::try_from(number).unwrap_or_default();
            server.gate.health.store(status, Ordering::Relaxed);
            text(format!("{status} from now on\n"))
        }
        _ => with_status(404),
    }
}

async fn named(
    server: &Server,
    what: &str,
    request: Request<Incoming>,
    peer: &str,
) -> Response<Body> {
    let Server { name, gate, number } = server;
    match what {
        "healthz" => with_status(gate.health.load(Ordering::Relaxed)),
        "mirror" => Response::new(request.into_body().boxed_unsync()),
        "check" => text(check(request.into_body()).await),
        "wait" => {
            gate.hold().released().await;
            text(format!("{name}\n"))
        }
        "hold" => Response::new(HeldBody::new(name, gate.hold()).boxed_unsync()),
        "held" => text(gate.held().to_string()),
        "release" => {
            gate.release();
            text(String::new())
        }
        "number" => text((number.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
        "upgrade" => upgrade(request),
        _ => {
            tokio::time::sleep(Duration::from_millis(gate.slowness.load(Ordering::Relaxed))).await;
            text(describe(request, name, peer).await.to_string())
        }
    }
}

/// The length of a body that is the content.
async fn check(mut body: Incoming) -> String {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return "broken off".to_owned();
        };
        let Ok(data) = frame.into_data() else { continue };
        if !content::is_right(length, &data) {
            return format!("wrong after {length}");
        }
        length += data.len() as u64;
    }
    length.to_string()
}

fn upgrade(request: Request<Incoming>) -> Response<Body> {
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return with_status(StatusCode::UPGRADE_REQUIRED.as_u16());
    };
    tokio::spawn(async move {
        let stream = TokioIo::new(hyper::upgrade::on(request).await?);
        let (mut read, mut write) = io::split(stream);
        io::copy(&mut read, &mut write).await?;
        io::AsyncWriteExt::shutdown(&mut write).await?;
        anyhow::Ok(())
    });
    let mut response = with_status(101);
    response.headers_mut().insert(UPGRADE, protocol);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn replay(request: &Request<Incoming>) -> Response<Body> {
    let mut response = text("never seen".to_owned());
    if let Some(directions) = request.headers().get("x-replay").cloned() {
        response.headers_mut().insert("fly-replay", directions);
    }
    response
}

async fn describe(request: Request<Incoming>, name: &str, peer: &str) -> Value {
    let (head, body) = request.into_parts();
    // A list of pairs: repeated headers and their order are part of what was seen.
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = body.collect().await.map(|body| body.to_bytes().len()).ok();
    json!({
        "server": name,
        "peer": peer,
        "version": format!("{:?}", head.version),
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": headers,
        "body_bytes": body,
    })
}

fn with_status(status: u16) -> Response<Body> {
    let mut response = text(String::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response
}

fn text(text: String) -> Response<Body> {
    Response::new(whole(text.into()))
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
