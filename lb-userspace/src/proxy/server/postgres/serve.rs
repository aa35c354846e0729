//! A connection of a PostgreSQL client, from its first byte to its last.

use std::{io, rc::Rc, sync::Arc};

use hyper::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    cancel,
    error::{SessionRefusal, refuse},
    keyed::KeyScanningStream,
    message::{self, CancelKey, HEAD, Start, TLS_HANDSHAKE},
};
use crate::proxy::{
    net::{endpoints::Endpoints, relay::relay},
    routing::routes::{Frontend, Site},
    server::{proxy_protocol, worker::Worker},
    tls::{
        session_info::TlsSession,
        terminator::{self, SecuredStream},
    },
    upstream::tcp,
};

/// What the protocol is called in ALPN.
const ALPN: &[u8] = b"postgresql";
/// Answers to SSLRequest and GSSENCRequest.
const WILLING: &[u8] = b"S";
const UNWILLING: &[u8] = b"N";

/// What a client wants once it has introduced itself.
enum Wish {
    Session {
        stream: SecuredStream,
        site: Arc<Site>,
        startup: Bytes,
    },
    /// The stream ends when it is done: clients wait for that.
    Cancel {
        key: CancelKey,
        site: Option<Arc<Site>>,
        stream: Box<dyn AsyncWrite + Unpin>,
    },
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    frontend: &Frontend,
    stream: TcpStream,
    endpoints: &Endpoints,
) -> io::Result<()> {
    let introduced =
        timeout(worker.settings.handshake_timeout, introduce(worker, frontend, stream, endpoints));
    match introduced.await?? {
        Wish::Session { stream, site, startup } => {
            session(worker, &site, stream, startup, endpoints).await
        }
        Wish::Cancel { key, site, mut stream } => {
            let sites = site.map_or_else(|| frontend.sites().cloned().collect(), |site| vec![site]);
            cancel::deliver(worker, &sites, &key, endpoints).await;
            // In order, whatever its other end thinks of it.
            let _ = stream.shutdown().await;
            Ok(())
        }
    }
}

/// Up to the first message that the server would see.
async fn introduce(
    worker: &Worker,
    frontend: &Frontend,
    mut stream: TcpStream,
    endpoints: &Endpoints,
) -> io::Result<Wish> {
    let mut asked_for_gss = false;
    let is_direct = loop {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] == TLS_HANDSHAKE {
            break true;
        }
        match start(&mut stream).await?.0 {
            Start::Tls => {
                stream.write_all(WILLING).await?;
                break false;
            }
            Start::Gss if !asked_for_gss => {
                asked_for_gss = true;
                stream.write_all(UNWILLING).await?;
            }
            Start::Gss => return Err(io::Error::other("GSSAPI encryption asked for twice")),
            Start::Cancel(key) => {
                return Ok(Wish::Cancel { key, site: None, stream: Box::new(stream) });
            }
            Start::Session => {
                refuse(&mut stream, SessionRefusal::Unencrypted).await?;
                return Err(io::Error::other("a session without TLS"));
            }
        }
    };
    let address = endpoints.server.ip();
    let find = |name: Option<&str>| frontend.site(name).cloned();
    let accepted = terminator::accept(stream, find, address, &worker.handshakes, &worker.names);
    let (mut stream, site) = accepted.await?;
    if is_direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(io::Error::other("TLS from the first byte on without ALPN `postgresql`"));
    }
    match start(&mut stream).await? {
        (Start::Session, startup) => Ok(Wish::Session { stream, site, startup }),
        (Start::Cancel(key), _) => Ok(Wish::Cancel { key, site: Some(site), stream }),
        (Start::Tls | Start::Gss, _) => Err(io::Error::other("encryption asked for inside TLS")),
    }
}

/// The next message without a type, and what was read of it. Of a startup message that is only
/// its head: the rest is the server's.
async fn start<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Start, Bytes)> {
    let mut bytes = vec![0; HEAD];
    stream.read_exact(&mut bytes).await?;
    loop {
        let parsed = message::parse_start(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match parsed {
            Ok(start) => return Ok((start, bytes.into())),
            Err(missing) => {
                let read = bytes.len();
                bytes.resize(read + missing, 0);
                stream.read_exact(&mut bytes[read..]).await?;
            }
        }
    }
}

async fn session(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    mut stream: SecuredStream,
    startup: Bytes,
    endpoints: &Endpoints,
) -> io::Result<()> {
    site.running().count();
    let passage = match tcp::connect(&worker.upstreams, site, endpoints.client.ip()).await {
        Ok(passage) => passage,
        Err(fault) => {
            site.running().count_failed();
            refuse(&mut stream, SessionRefusal::Unavailable(fault)).await?;
            return Err(io::Error::other(fault));
        }
    };
    let facts = site.proxy_proto.map(|_| TlsSession::of(stream.get_ref().1));
    let ahead =
        [proxy_protocol::announce(site.proxy_proto, endpoints, facts.as_ref()), startup].concat();
    let backend = KeyScanningStream::new(
        passage.stream,
        worker.cancel_keys.clone(),
        passage.backend.server.address,
    );
    let timeouts = site.timeouts(&worker.settings);
    let end = worker.upstreams.expelled(&passage.backend);
    relay((stream, ahead.into()), (backend, Bytes::new()), timeouts, end).await
}
