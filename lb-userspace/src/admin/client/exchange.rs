//! One exchange with the daemon over its socket.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, anyhow};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
    http::{HeaderMap, request::Builder},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time};

use crate::admin::problem::Problem;

/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than ten thousand services need.
const MAX_ANSWER: usize = 256 << 20;

pub(super) fn cannot_ask(socket: &Path) -> String {
    format!("cannot ask the lb at {}", socket.display())
}

pub(super) fn parse<A: DeserializeOwned>(body: &[u8]) -> anyhow::Result<A> {
    serde_json::from_slice(body)
        .context("cannot parse the answer: it may be that of another version of lb")
}

/// The headers and the body of an answer.
pub(super) type Exchanged = (HeaderMap, Bytes);

pub(super) fn ask(socket: &Path, request: Builder, body: Bytes) -> anyhow::Result<Bytes> {
    ask_within(TIMEOUT, socket, request, body)
}

pub(super) fn ask_within(
    patience: Duration,
    socket: &Path,
    request: Builder,
    body: Bytes,
) -> anyhow::Result<Bytes> {
    exchange_within(patience, socket, request, body).map(|(_, body)| body)
}

pub(super) fn exchange_within(
    patience: Duration,
    socket: &Path,
    request: Builder,
    body: Bytes,
) -> anyhow::Result<Exchanged> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        time::timeout(patience, fetch(socket, request, body))
            .await
            .map_err(|_| anyhow!("no answer within {} s", patience.as_secs()))
            .flatten()
            .map_err(|error| add_socket(error, socket))
    })
}

/// The daemon understood the request and refuses it. Nothing is wrong with the connection.
#[derive(Debug, thiserror::Error)]
#[error("{}", text(.0))]
pub struct RequestRefused(pub Problem);

/// The reason, and below it every rule that is broken.
fn text(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    for violation in &problem.violations {
        text += &format!("\n  {}: {}", violation.at, violation.detail);
        if let Some(other) = &violation.conflicts_with {
            text += &format!(" ({other})");
        }
        if let Some(help) = &violation.help {
            text += &format!("\n    {help}");
        }
    }
    text
}

pub(super) fn add_socket(error: anyhow::Error, socket: &Path) -> anyhow::Error {
    if error.is::<RequestRefused>() { error } else { error.context(cannot_ask(socket)) }
}

async fn fetch(socket: &Path, request: Builder, body: Bytes) -> anyhow::Result<Exchanged> {
    let response = send(socket, request, body).await?;
    let headers = response.headers().clone();
    Ok((headers, read(response).await?))
}

pub(super) async fn send(
    socket: &Path,
    request: Builder,
    body: Bytes,
) -> anyhow::Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await.map_err(connect_error)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = request.header(HOST, "lb").body(Full::new(body))?;
    Ok(sender.send_request(request).await?)
}

/// Words for the failures that an operator meets.
fn connect_error(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow!("no lb is running: nobody listens on this socket")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("not allowed to open this socket: ask as the user that lb runs as (root)")
        }
        _ => error.into(),
    }
}

pub(super) async fn read(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
    let body = body.to_bytes();
    if !code.is_success() {
        return Err(refused(code, &body));
    }
    Ok(body)
}

/// Returns the daemon's own words if they can be parsed.
fn refused(code: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if code.is_client_error() || code == StatusCode::INSUFFICIENT_STORAGE => {
            RequestRefused(problem).into()
        }
        Ok(problem) => anyhow!("it answers {code}: {}", problem.detail),
        Err(_) => anyhow!("it answers {code}: {}", String::from_utf8_lossy(body)),
    }
}
