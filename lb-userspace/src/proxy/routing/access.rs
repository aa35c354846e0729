//! Private services: who reaches them at all.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use tokio::net::TcpStream;

use crate::service::Private;

/// Tells the name of the interface by which an accepted connection came in.
pub type Ingress = fn(BorrowedFd<'_>) -> io::Result<String>;

/// Returns whether the connection from `peer`, the socket's own, may go to a service that is
/// `private`. Denied if the ingress interface cannot be determined.
pub(crate) fn admits(
    ingress: Ingress,
    private: &Private,
    stream: &TcpStream,
    peer: IpAddr,
) -> bool {
    let Private { interfaces, networks } = private;
    if !networks.is_empty() && !networks.iter().any(|network| network.contains(&peer)) {
        return false;
    }
    if interfaces.is_empty() {
        return true;
    }
    match ingress(stream.as_fd()) {
        Ok(name) => interfaces.iter().any(|interface| interface.matches(&name)),
        Err(error) => {
            tracing::warn!(%peer, %error, "cannot tell by which interface a connection came in");
            false
        }
    }
}
