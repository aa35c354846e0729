//! A connection's way in stages: frontend → announcement → handshake → HTTP or relay. Each returns
//! what the next one needs, or a refusal that one place answers.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use hyper::body::Bytes;
use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};

use super::{
    client::Client,
    http, postgres,
    proxy_protocol::{self, ReceivedHeader},
    worker::Worker,
};
use crate::proxy::{
    net::{endpoints::Endpoints, relay::RelayStream},
    routing::{
        access,
        routes::{Frontend, Site},
    },
    tls::{
        client_cert,
        session_info::TlsSession,
        terminator::{self, SecuredStream},
    },
    upstream::tcp,
};
use crate::service::Opening;

/// Nothing is served here: the client gets a reset, as from a closed port.
struct Refused;

/// Serves one accepted connection to its end.
pub(crate) async fn connection(worker: Rc<Worker>, mut stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let arrived = Endpoints::new(local, peer);
    let admitted = match frontend(&worker, &stream, &arrived) {
        Ok(frontend) => {
            let endpoints = announced(&worker, arrived, &mut stream).await;
            endpoints.map(|endpoints| (frontend, endpoints))
        }
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok((frontend, endpoints)) => {
            let _counted = frontend.enter();
            serve(worker, &frontend, stream, endpoints).await;
        }
        Err(Refused) => {
            // Without it the client sees an orderly end, which is only less clear.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Finds the frontend at the address that was asked, if the client may come there.
fn frontend(
    worker: &Worker,
    stream: &TcpStream,
    arrived: &Endpoints,
) -> Result<Arc<Frontend>, Refused> {
    let found = worker.with_routes(|routes| routes.find(arrived.local).cloned());
    let frontend = found.ok_or(Refused)?;
    let admits = |private| access::admits(worker.ingress, private, stream, arrived.client.ip());
    if frontend.private.as_ref().is_none_or(admits) { Ok(frontend) } else { Err(Refused) }
}

/// Serves a connection by what its frontend expects first.
async fn serve(
    worker: Rc<Worker>,
    frontend: &Arc<Frontend>,
    stream: TcpStream,
    endpoints: Endpoints,
) {
    match frontend.opening {
        // Boxed, so that each connection's task is as large as what it does, and not as the
        // largest.
        Opening::Tls => encrypted(worker, frontend, stream, endpoints).await,
        Opening::Postgres => {
            let served = Box::pin(postgres::serve(&worker, frontend, stream, &endpoints));
            if let Err(error) = served.await {
                tracing::debug!(peer = %endpoints.client, %error, "PostgreSQL connection ended");
            }
        }
        Opening::Http => {
            let client = Client::plain(worker, frontend, endpoints);
            http::serve_plain(client, stream).await;
        }
        Opening::Raw => {
            if let Some(site) = frontend.site(None) {
                Box::pin(relayed(&worker, site, stream, &endpoints, None)).await;
            }
        }
    }
}

/// Returns between whom the connection is, as the proxy in front of us announces it where there is
/// one.
async fn announced(
    worker: &Worker,
    arrived: Endpoints,
    stream: &mut TcpStream,
) -> Result<Endpoints, Refused> {
    let proxy = arrived.client;
    if !worker.settings.is_announced(proxy.ip()) {
        return Ok(arrived);
    }
    let within = worker.settings.handshake_timeout;
    match timeout(within, proxy_protocol::receive(stream)).await {
        Ok(Ok(ReceivedHeader::Itself)) => return Ok(arrived),
        Ok(Ok(ReceivedHeader::Client { client, server })) => {
            return Ok(arrived.announced(client, server));
        }
        Ok(Err(error)) => tracing::debug!(%proxy, %error, "connection refused"),
        Err(_) => tracing::debug!(%proxy, "the PROXY protocol header took too long"),
    }
    Err(Refused)
}

async fn encrypted(
    worker: Rc<Worker>,
    frontend: &Arc<Frontend>,
    stream: TcpStream,
    endpoints: Endpoints,
) {
    // Boxed: nothing of a handshake is held once it is over.
    let greeted = Box::pin(greeted(&worker, frontend, stream, &endpoints)).await;
    let Some((stream, site)) = greeted else {
        return;
    };
    if !site.is_http {
        let session = site.proxy_proto.map(|_| TlsSession::of(stream.get_ref().1));
        return Box::pin(relayed(&worker, &site, stream, &endpoints, session.as_ref())).await;
    }
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // A request may be for another service here than the one that the handshake named.
    let tells = |site: &Arc<Site>| {
        site.terminator.as_ref().is_some_and(|terminator| terminator.forwards_client_cert)
    };
    let session = stream.get_ref().1;
    // Most show none, and a port may have ten thousand services.
    let is_told = session.peer_certificates().is_some() && frontend.sites().any(tells);
    let certificate = is_told.then(|| client_cert::element(session)).flatten();
    let client = Client::secured(worker, frontend, endpoints, &site, certificate);
    if is_http2 {
        Box::pin(http::serve2(client, stream, Bytes::new())).await;
    } else {
        Box::pin(http::serve1(client, stream, Bytes::new())).await;
    }
}

/// The stream after its handshake. `None`: there will be none.
async fn greeted(
    worker: &Worker,
    frontend: &Frontend,
    stream: TcpStream,
    endpoints: &Endpoints,
) -> Option<(SecuredStream, Arc<Site>)> {
    let (peer, local) = (endpoints.client, endpoints.local);
    let handshake = timeout(
        worker.settings.handshake_timeout,
        terminator::accept(
            stream,
            |name| frontend.site(name).cloned(),
            endpoints.server.ip(),
            &worker.handshakes,
            &worker.names,
        ),
    );
    match handshake.await {
        Ok(Ok(accepted)) => return Some(accepted),
        Ok(Err(error)) => tracing::debug!(%peer, %local, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, %local, "TLS handshake took too long"),
    }
    None
}

async fn relayed<S>(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    stream: S,
    endpoints: &Endpoints,
    session: Option<&TlsSession>,
) where
    S: RelayStream,
{
    let ahead = proxy_protocol::announce(site.proxy_proto, endpoints, session);
    if let Err(error) =
        tcp::through(&worker.upstreams, site, (stream, ahead), endpoints.client.ip()).await
    {
        tracing::debug!(peer = %endpoints.client, %error, "relay ended");
    }
}
