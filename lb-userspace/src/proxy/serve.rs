//! A connection's way: address → handshake → protocol → HTTP or relay.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use hyper::body::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{
    http::{self, Client},
    passage,
    routes::{Frontend, Site},
    tls,
    worker::Worker,
};

/// Serves one accepted connection to its end.
pub(super) async fn connection(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let Some(frontend) = worker.with_routes(|routes| routes.find(local).cloned()) else {
        refuse(&stream);
        return;
    };
    if frontend.is_tls {
        encrypted(worker, &frontend, stream, local, peer).await;
    } else {
        let client = Client::new(worker, local, peer, false);
        http::serve_plain(client, stream).await;
    }
}

async fn encrypted(
    worker: Rc<Worker>,
    frontend: &Frontend,
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
) {
    let handshake = timeout(worker.settings.handshake_timeout, tls::accept(stream, frontend));
    let (stream, site) = match handshake.await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return tracing::debug!(%peer, %local, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, %local, "TLS handshake took too long"),
    };
    if !site.is_http {
        return relayed(&worker, &site, stream, peer).await;
    }
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let client = Client::new(worker, local, peer, true);
    if is_http2 {
        http::serve2(client, stream, Bytes::new()).await;
    } else {
        http::serve1(client, stream, Bytes::new()).await;
    }
}

async fn relayed<S>(worker: &Rc<Worker>, site: &Arc<Site>, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite,
{
    if let Err(error) = passage::through(worker, site, stream, peer).await {
        tracing::debug!(%peer, %error, "relay ended");
    }
}

/// Nothing is served here: the client gets a reset, as from a closed port.
fn refuse(stream: &TcpStream) {
    // Without it the client sees an orderly end, which is only less clear.
    let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}
