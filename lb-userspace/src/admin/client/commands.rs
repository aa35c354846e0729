//! What `lb status` and other commands ask of the daemon.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use hyper::{Request, body::Bytes};
use serde::Serialize;

use super::exchange::{add_socket, ask, ask_within, cannot_ask, parse, read, send};
use crate::admin::{
    explain::{Explanation, PacketQuery, TraceLine, TraceQuery},
    flows::{FlowList, FlowQuery},
    request::{DrainReply, DrainRequest, ReloadReply, ReloadRequest, UpgradeReply, UpgradeRequest},
    status::Status,
};

/// The first explanation waits for the kernel's verifier, and that of Linux 6.1 is slow.
const EXPLAINING: Duration = Duration::from_secs(120);
/// Programs may have to be loaded, and packets to pass.
const RELOADING: Duration = Duration::from_secs(300);
const UPGRADING: Duration = Duration::from_secs(390);

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

fn post(socket: &Path, path: &str, question: &impl Serialize) -> anyhow::Result<Bytes> {
    ask(socket, Request::post(path), serde_json::to_vec(question)?.into())
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
