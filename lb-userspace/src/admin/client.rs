//! Asks the running daemon.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, Response, body::Bytes, body::Incoming, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time};

use super::Status;

/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than ten thousand services take.
const MAX_ANSWER: usize = 256 << 20;

/// The status of the daemon that listens on `socket`. Blocks; not for use within a runtime.
///
/// # Errors
///
/// No daemon listens there, it may not be asked, or its answer is not understood.
pub fn status(socket: &Path) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        time::timeout(TIMEOUT, fetch(socket))
            .await
            .map_err(|_| anyhow!("no answer within {} s", TIMEOUT.as_secs()))
            .flatten()
            .with_context(|| format!("cannot ask the lb at {}", socket.display()))
    })
}

async fn fetch(socket: &Path) -> anyhow::Result<Status> {
    let stream = UnixStream::connect(socket).await.map_err(explain)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/v1/status").header(HOST, "lb").body(Empty::<Bytes>::new())?;
    read(sender.send_request(request).await?).await
}

/// The reasons that an operator meets, in words.
fn explain(error: io::Error) -> anyhow::Error {
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

async fn read(response: Response<Incoming>) -> anyhow::Result<Status> {
    let code = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
    let body = body.to_bytes();
    if !code.is_success() {
        bail!("it answers {code}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).context("its answer is of another version of lb")
}
