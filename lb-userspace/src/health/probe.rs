//! One check of one server.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::try_join_all;
use hyper::{StatusCode, http};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    time::{self, Instant},
};

use super::{
    announce::announce,
    ask,
    tunnel::{Finder, Tunnel},
};
use crate::{
    lack::Cause,
    service::{Forwarding, HealthCheck, Probe, Speech},
};

/// Why a server is not healthy, for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error(
        "no answer within {} by `{}`: the server needs the announced addresses{}",
        humantime::format_duration(*.0), .1,
        if *.1 == "l2" { "" } else { ", and something that takes off the outer header" }
    )]
    Unreached(Duration, &'static str),
    #[error("the check was not attended to for {}", humantime::format_duration(*.0))]
    Neglected(Duration),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("the way there cannot be found: {0}")]
    Unguided(io::Error),
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
            Self::Unguided(error) if Cause::of(error) == Cause::Route => Cause::Route,
            Self::Unguided(_) => Cause::Resource,
            Self::Connect(error) | Self::Broken(error) => Cause::of(error),
            Self::Http(error) => {
                let io = error.source().and_then(|source| source.downcast_ref());
                io.map_or(Cause::Peer, Cause::of)
            }
            Self::Timeout(_) | Self::Unreached(..) | Self::Status { .. } | Self::Request(_) => {
                Cause::Peer
            }
        }
    }
}

/// What a check is made of.
#[derive(Clone)]
pub struct Target {
    /// With the check's port.
    pub server: SocketAddr,
    /// Whether the server is asked at its own address.
    pub itself: bool,
    /// Announced addresses that it is asked at by the way of clients' packets, and that way.
    pub vips: Vec<IpAddr>,
    pub by: Forwarding,
    pub finder: Option<Finder>,
}

impl Target {
    /// At its own address alone.
    #[must_use]
    pub fn itself(server: SocketAddr) -> Self {
        let (vips, by, finder) = (Vec::new(), Forwarding::Nat, None);
        Self { server, itself: true, vips, by, finder }
    }
}

/// Checks a server once, within `check.timeout` in all.
///
/// # Errors
///
/// Why the server is not healthy.
pub async fn probe(check: &HealthCheck, speech: Speech, target: &Target) -> Result<(), Failure> {
    let found = within(check.timeout, async {
        let vips = target.vips.iter().map(|&vip| by_way(check, speech, target, vip));
        let asked = try_join_all(vips).await?;
        // Where it cannot be asked otherwise, this is better than nothing.
        if target.itself || !asked.contains(&true) {
            itself(check, speech, target.server).await?;
        }
        Ok(())
    });
    found.await.map_err(|failure| match failure {
        Failure::Timeout(allowed) if !target.vips.is_empty() => {
            Failure::Unreached(allowed, target.by.name())
        }
        other => other,
    })
}

/// Answers whether the server could be asked.
async fn by_way(
    check: &HealthCheck,
    speech: Speech,
    target: &Target,
    vip: IpAddr,
) -> Result<bool, Failure> {
    let Some(finder) = &target.finder else { return Ok(false) };
    let (server, port) = (target.server.ip(), target.server.port());
    let way = finder(server, vip, target.by).await.map_err(Failure::Unguided)?;
    let Some(way) = way else { return Ok(false) };
    let vip = SocketAddr::new(vip, port);
    let mut tunnel = Tunnel::open(way, vip, server).await.map_err(Failure::Connect)?;
    let ((near, far), ends) = (Tunnel::pipe(), tunnel.ends);
    tokio::select! {
        examined = examine(check, speech, near, ends) => examined.map(|()| true),
        broken = tunnel.carry(far) => Err(Failure::Broken(broken)),
    }
}

async fn itself(check: &HealthCheck, speech: Speech, server: SocketAddr) -> Result<(), Failure> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let stream = socket.map_err(Failure::Connect)?;
    let stream = stream.connect(server).await.map_err(Failure::Connect)?;
    // What follows a PROXY header follows at once.
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    let ends = [stream.local_addr().map_err(Failure::Connect)?, server];
    examine(check, speech, stream, ends).await
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
