//! The client of the admin socket: asks the running daemon.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1, header::HOST,
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time};

use super::{
    explain::{Explanation, PacketQuery, TraceLine, TraceQuery},
    flows::{FlowList, FlowQuery},
    problem::Problem,
    request::{DrainReply, DrainRequest, ReloadReply, ReloadRequest, UpgradeReply, UpgradeRequest},
    status::Status,
};

/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first explanation waits for the kernel's verifier, and that of Linux 6.1 is slow.
const EXPLAINING: Duration = Duration::from_secs(120);
/// Programs may have to be loaded, and packets to pass.
const RELOADING: Duration = Duration::from_secs(300);
const UPGRADING: Duration = Duration::from_secs(390);
/// Far more than ten thousand services need.
const MAX_ANSWER: usize = 256 << 20;

/// Returns the status of the daemon that listens on `socket`. Blocks; must not be called within a
/// runtime.
///
/// # Errors
///
/// No daemon listens there, access is denied, or the answer cannot be parsed.
pub fn status(socket: &Path) -> anyhow::Result<Status> {
    let body = ask(socket, Request::get("/v1/status"), Bytes::new())?;
    parse(&body)
}

/// Returns the flows of the daemon that listens on `socket`. Blocks, as above.
///
/// # Errors
///
/// As of [`status`].
pub fn flows(socket: &Path, query: &FlowQuery) -> anyhow::Result<FlowList> {
    parse(&post(socket, "/v1/flows", query)?)
}

/// Returns what the kernel program of the daemon that listens on `socket` would do with a packet.
/// Blocks, as above.
///
/// # Errors
///
/// As of [`status`], or the query makes no sense.
pub fn explain(socket: &Path, question: &PacketQuery) -> anyhow::Result<Explanation> {
    let body = serde_json::to_vec(question)?.into();
    parse(&ask_within(EXPLAINING, socket, Request::post("/v1/explain"), body)?)
}

/// Passes each line of a trace to `take`, until it returns `false`. Blocks, as above.
///
/// # Errors
///
/// As of [`status`], or another trace runs, or the daemon ends.
pub fn trace(
    socket: &Path,
    query: &TraceQuery,
    mut take: impl FnMut(TraceLine) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let body = serde_json::to_vec(query)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let request = send(socket, Request::post("/v1/trace"), body.into());
        let response = request.await.with_context(|| cannot_ask(socket))?;
        if !response.status().is_success() {
            return read(response).await.map(drop).map_err(|error| add_socket(error, socket));
        }
        let (mut body, mut rest) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the lb that was traced has ended")?;
            rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                // Between events there are empty lines, and comments while nothing happens.
                let Some(data) = line.strip_prefix(b"data: ") else { continue };
                if !take(parse(data)?)? {
                    return Ok(());
                }
            }
        }
        bail!("the lb that was traced has ended")
    })
}

fn cannot_ask(socket: &Path) -> String {
    format!("cannot ask the lb at {}", socket.display())
}

fn post(socket: &Path, path: &str, question: &impl Serialize) -> anyhow::Result<Bytes> {
    ask(socket, Request::post(path), serde_json::to_vec(question)?.into())
}

fn parse<A: DeserializeOwned>(body: &[u8]) -> anyhow::Result<A> {
    serde_json::from_slice(body)
        .context("cannot parse the answer: it may be that of another version of lb")
}

/// Makes the daemon that listens on `socket` drain a server. Blocks, as above.
///
/// # Errors
///
/// As of [`status`], or there is no such server.
pub fn drain(socket: &Path, order: &DrainRequest) -> anyhow::Result<DrainReply> {
    let body = serde_json::to_vec(order)?;
    parse(&ask(socket, Request::put("/v1/drain"), body.into())?)
}

/// Has the daemon that listens on `socket` read its configuration again. Blocks, as above.
///
/// # Errors
///
/// As of [`status`], or the configuration is refused: the text says why, in several lines.
pub fn reload(socket: &Path, request: &ReloadRequest) -> anyhow::Result<ReloadReply> {
    let body = serde_json::to_vec(request)?;
    parse(&ask_within(RELOADING, socket, Request::post("/v1/reload"), body.into())?)
}

/// Has the daemon that listens on `socket` start a new process that takes its place. Blocks, as
/// above.
///
/// # Errors
///
/// As of [`status`], or the new process could not: the old one goes on.
pub fn upgrade(socket: &Path, request: &UpgradeRequest) -> anyhow::Result<UpgradeReply> {
    let body = serde_json::to_vec(request)?;
    parse(&ask_within(UPGRADING, socket, Request::post("/v1/upgrade"), body.into())?)
}

fn ask(socket: &Path, request: Builder, body: Bytes) -> anyhow::Result<Bytes> {
    ask_within(TIMEOUT, socket, request, body)
}

fn ask_within(
    patience: Duration,
    socket: &Path,
    request: Builder,
    body: Bytes,
) -> anyhow::Result<Bytes> {
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
#[error("{0}")]
struct Refusal(String);

fn add_socket(error: anyhow::Error, socket: &Path) -> anyhow::Error {
    if error.is::<Refusal>() { error } else { error.context(cannot_ask(socket)) }
}

async fn fetch(socket: &Path, request: Builder, body: Bytes) -> anyhow::Result<Bytes> {
    read(send(socket, request, body).await?).await
}

async fn send(socket: &Path, request: Builder, body: Bytes) -> anyhow::Result<Response<Incoming>> {
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

async fn read(response: Response<Incoming>) -> anyhow::Result<Bytes> {
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
        Ok(problem) if code.is_client_error() => Refusal(problem.detail).into(),
        Ok(problem) => anyhow!("it answers {code}: {}", problem.detail),
        Err(_) => anyhow!("it answers {code}: {}", String::from_utf8_lossy(body)),
    }
}
