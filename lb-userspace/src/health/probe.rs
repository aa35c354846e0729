//! One check of one server.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use hyper::{StatusCode, http};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    time::{self, Instant},
};

use super::{announce::announce, ask};
use crate::{
    lack::Cause,
    service::{HealthCheck, Probe, Speech},
};

/// Why a server is not healthy, for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("the check was not attended to for {}", humantime::format_duration(*.0))]
    Neglected(Duration),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    #[error("no HTTP response: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {got} instead of {wanted}")]
    Status { got: StatusCode, wanted: String },
    #[error("the check's request cannot be made: {0}")]
    Request(#[from] http::Error),
}

impl Failure {
    /// What it says of: the server, or this host.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Neglected(_) => Cause::Resource,
            Self::Connect(error) | Self::Broken(error) => Cause::of(error),
            Self::Http(error) => {
                let io = error.source().and_then(|source| source.downcast_ref());
                io.map_or(Cause::Peer, Cause::of)
            }
            Self::Timeout(_) | Self::Status { .. } | Self::Request(_) => Cause::Peer,
        }
    }
}

/// Checks `server` once, within `check.timeout` in all. `server` already has the check's port.
///
/// # Errors
///
/// Why the server is not healthy.
pub async fn probe(check: &HealthCheck, speech: Speech, server: SocketAddr) -> Result<(), Failure> {
    within(check.timeout, async {
        let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let stream = socket.map_err(Failure::Connect)?;
        let stream = stream.connect(server).await.map_err(Failure::Connect)?;
        // What follows a PROXY header follows at once.
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        let ends = [stream.local_addr().map_err(Failure::Connect)?, server];
        examine(check, speech, stream, ends).await
    })
    .await
}

/// Gives `attempt` its time. It may have run out because this host was busy with something else.
async fn within(
    allowed: Duration,
    attempt: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    const SLACK: Duration = Duration::from_millis(250);
    let deadline = Instant::now() + allowed;
    time::timeout_at(deadline, attempt).await.unwrap_or_else(|_| {
        let late = deadline.elapsed();
        let neglected = late > SLACK.max(allowed / 4);
        Err(if neglected { Failure::Neglected(late) } else { Failure::Timeout(allowed) })
    })
}

/// Asks a server over a connection to it, which is between these ends.
async fn examine<S>(
    check: &HealthCheck,
    speech: Speech,
    mut stream: S,
    ends: [SocketAddr; 2],
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(version) = speech.proxy_proto {
        stream.write_all(&announce(version, ends)).await.map_err(Failure::Broken)?;
    }
    let Probe::Http { status, .. } = &check.probe else {
        return Ok(());
    };
    let request = ask::request(&check.probe, ends[1])?;
    judge(*status, ask::ask(stream, request, speech.h2).await?)
}

fn judge(wanted: Option<u16>, got: StatusCode) -> Result<(), Failure> {
    let (healthy, wanted) = match wanted {
        Some(status) => (got.as_u16() == status, status.to_string()),
        None => ((200..400).contains(&got.as_u16()), "200 to 399".to_owned()),
    };
    if healthy { Ok(()) } else { Err(Failure::Status { got, wanted }) }
}

#[cfg(test)]
mod tests;
