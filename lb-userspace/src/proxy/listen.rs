//! The listener group.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that wait for `accept`, per worker. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Lets this process open as many sockets as it may: where a shell or a unit file says nothing, that
/// is 1024 at first and many times more when asked for.
pub(super) fn raise_limit() {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    let raised = getrlimit(RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// `count` listeners in one `SO_REUSEPORT` group. Port 0 becomes a free port, the same for all.
pub(super) fn group(count: usize, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let first = listen(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listen(address)?);
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

/// Has the kernel end a connection whose peer vanished without a word, after twice `idle`: probes
/// ask a silent peer, and what was sent must be acknowledged or taken by then. Sockets that a
/// listener accepts inherit it (Linux).
pub(super) fn notice_loss(socket: &SockRef<'_>, idle: Duration) -> io::Result<()> {
    const PROBES: u32 = 4;
    // The kernel counts whole seconds, up to 32767. Two hours is its own default.
    let idle = idle.clamp(Duration::from_secs(PROBES.into()), Duration::from_secs(2 * 60 * 60));
    let keepalive =
        TcpKeepalive::new().with_time(idle).with_interval(idle / PROBES).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Probes stop while data is under way; retransmitting goes on for a quarter of an hour.
    socket.set_tcp_user_timeout(Some(2 * idle))
}
