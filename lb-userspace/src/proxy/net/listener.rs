//! The listener group.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::settings::Keepalive;

/// Connections that wait for `accept`, per worker. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Lets this process open as many sockets as it may: where a shell or a unit file says nothing,
/// that is 1024 at first and many times more when asked for.
pub(crate) fn raise_limit() {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    let raised = getrlimit(RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// `count` listeners in one `SO_REUSEPORT` group. Port 0 becomes a free port, the same for all.
pub(crate) fn group(count: usize, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listen(address)?);
    }
    Ok(listeners)
}

/// A listener that other ones of the same address share a group with.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit this (Linux), which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Has the kernel end a connection whose peer vanished without a word: probes ask a silent peer,
/// and what was sent must be acknowledged or taken in the same time. Sockets that a listener
/// accepts inherit it (Linux).
pub(crate) fn notice_loss(socket: &SockRef<'_>, keepalive: &Keepalive) -> io::Result<()> {
    /// The kernel counts milliseconds in an `int`.
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    let probing = TcpKeepalive::new()
        .with_time(keepalive.time)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.probes);
    socket.set_tcp_keepalive(&probing)?;
    // Probes stop while data is under way; retransmitting goes on for a quarter of an hour.
    socket.set_tcp_user_timeout(Some(keepalive.patience().min(LONGEST)))
}
