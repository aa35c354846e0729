//! Checks one server once.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::try_join_all;
use hyper::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
    time::{self, Instant},
};

use super::{
    failure::CheckFailure,
    proxy_header::encode,
    request,
    tunnel::{RouteFinder, Tunnel},
};
use crate::service::{CheckProtocol, Forwarding, HealthCheck, Probe};

/// What to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTarget {
    /// The server, with the check's port.
    pub server: SocketAddr,
    /// Whether the server is checked at its own address.
    pub own_address: bool,
    /// Announced addresses to check by the route of clients' packets, and that route.
    pub vips: Vec<IpAddr>,
    pub by: Forwarding,
}

impl CheckTarget {
    /// Checks its own address alone.
    #[must_use]
    pub fn own_address(server: SocketAddr) -> Self {
        Self { server, own_address: true, vips: Vec::new(), by: Forwarding::Nat }
    }
}

/// Checks a server once, within `check.timeout` in all. `finder` finds the routes of clients'
/// packets; without one the server is checked at its own address.
///
/// # Errors
///
/// Why the server is not healthy.
pub async fn probe(
    check: &HealthCheck,
    protocol: CheckProtocol,
    target: &CheckTarget,
    finder: Option<&RouteFinder>,
) -> Result<(), CheckFailure> {
    let found = within(check.timeout, async {
        let vips = target.vips.iter();
        let vips = vips.map(|&vip| through_tunnel(check, protocol, (target, finder), vip));
        let asked = try_join_all(vips).await?;
        // If it cannot be checked otherwise, this is better than nothing.
        if target.own_address || !asked.contains(&true) {
            own_address(check, protocol, target.server).await?;
        }
        Ok(())
    });
    found.await.map_err(|failure| match failure {
        CheckFailure::Timeout(allowed) if !target.vips.is_empty() => {
            CheckFailure::Unreached(allowed, target.by.name())
        }
        other => other,
    })
}

/// Checks by the route of clients' packets. Returns whether it could.
async fn through_tunnel(
    check: &HealthCheck,
    protocol: CheckProtocol,
    (target, finder): (&CheckTarget, Option<&RouteFinder>),
    vip: IpAddr,
) -> Result<bool, CheckFailure> {
    let Some(finder) = finder else { return Ok(false) };
    let (server, port) = (target.server.ip(), target.server.port());
    let way = finder(server, vip, target.by).await.map_err(CheckFailure::NoRoute)?;
    let Some(way) = way else { return Ok(false) };
    let vip = SocketAddr::new(vip, port);
    let mut tunnel = Tunnel::open(way, vip, server).await.map_err(CheckFailure::Connect)?;
    let ((near, far), ends) = (Tunnel::pipe(), tunnel.ends);
    tokio::select! {
        examined = examine(check, protocol, near, ends) => examined.map(|()| true),
        broken = tunnel.carry(far) => Err(CheckFailure::Broken(broken)),
    }
}

async fn own_address(
    check: &HealthCheck,
    protocol: CheckProtocol,
    server: SocketAddr,
) -> Result<(), CheckFailure> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let stream = socket.map_err(CheckFailure::Connect)?;
    let stream = stream.connect(server).await.map_err(CheckFailure::Connect)?;
    // What follows a PROXY header must not wait.
    stream.set_nodelay(true).map_err(CheckFailure::Connect)?;
    let ends = [stream.local_addr().map_err(CheckFailure::Connect)?, server];
    examine(check, protocol, stream, ends).await
}

/// Runs `attempt` with a timeout. If the timeout ran out because this host was busy, that is told
/// apart.
async fn within(
    allowed: Duration,
    attempt: impl Future<Output = Result<(), CheckFailure>>,
) -> Result<(), CheckFailure> {
    const SLACK: Duration = Duration::from_millis(250);
    let deadline = Instant::now() + allowed;
    time::timeout_at(deadline, attempt).await.unwrap_or_else(|_| {
        let late = deadline.elapsed();
        let neglected = late > SLACK.max(allowed / 4);
        Err(if neglected { CheckFailure::Neglected(late) } else { CheckFailure::Timeout(allowed) })
    })
}

/// Checks a server over a connection between these ends.
async fn examine<S>(
    check: &HealthCheck,
    protocol: CheckProtocol,
    mut stream: S,
    ends: [SocketAddr; 2],
) -> Result<(), CheckFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(version) = protocol.proxy_proto {
        stream.write_all(&encode(version, ends)).await.map_err(CheckFailure::Broken)?;
    }
    let Probe::Http { status, .. } = &check.probe else {
        return Ok(());
    };
    let request = request::request(&check.probe, ends[1])?;
    judge(*status, request::ask(stream, request, protocol.h2).await?)
}

fn judge(wanted: Option<u16>, got: StatusCode) -> Result<(), CheckFailure> {
    let (healthy, wanted) = match wanted {
        Some(status) => (got.as_u16() == status, status.to_string()),
        None => ((200..400).contains(&got.as_u16()), "200 to 399".to_owned()),
    };
    if healthy { Ok(()) } else { Err(CheckFailure::Status { got, wanted }) }
}

#[cfg(test)]
mod tests;
