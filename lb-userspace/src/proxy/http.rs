//! HTTP towards the client: one connection, and each of its requests.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{
    Request,
    body::{Body, Bytes, Incoming},
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    select,
    task::spawn_local,
    time::timeout,
};

use super::{
    forward::{self, Switched},
    headers::Facts,
    origin::Origin,
    preface,
    relay::{Side, relay},
    routes::Site,
    tls::Terminator,
    watch::{Limits, Patience, Watch, Watched},
    worker::Worker,
};

/// The largest header section of a request, in bytes; larger ones are answered with 431.
const MAX_HEADER: usize = 64 * 1024;
/// While draining: for the first request of a connection that has just been accepted.
const LAST_CALL: Duration = Duration::from_secs(1);
/// For a client that is still sending when it has had its last answer.
const LINGER: Duration = Duration::from_secs(2);
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// A client's connection as its requests see it.
pub(super) struct Client {
    pub worker: Rc<Worker>,
    pub facts: Facts,
    pub peer: IpAddr,
    local: SocketAddr,
    /// Who ended its TLS.
    terminator: Option<Arc<Terminator>>,
}

impl Client {
    pub fn new(
        worker: Rc<Worker>,
        origin: Origin,
        terminator: Option<Arc<Terminator>>,
    ) -> Rc<Self> {
        let facts = Facts::new(&worker, &origin, terminator.is_some());
        let (peer, local) = (origin.client.ip(), origin.local);
        Rc::new(Self { worker, facts, peer, local, terminator })
    }

    /// The service for a name here, by the routes that apply now.
    pub fn site(&self, name: &str) -> Option<Arc<Site>> {
        self.worker.with_routes(|routes| {
            let site = routes.find(self.local)?.site(Some(name))?;
            site.is_http.then(|| site.clone())
        })
    }

    /// Whether this connection was asked for all that `site` asks of its clients.
    pub fn is_entitled(&self, site: &Site) -> bool {
        let asked = |terminator: &Option<Arc<Terminator>>| {
            terminator.as_ref().and_then(|terminator| terminator.client_auth.clone())
        };
        let wanted = asked(&site.terminator);
        wanted.is_none() || asked(&self.terminator) == wanted
    }

    fn limits(&self) -> Limits {
        Limits {
            header: self.worker.settings.header_timeout,
            idle: self.worker.settings.idle_timeout,
        }
    }
}

/// Without TLS the first bytes say whether the client speaks HTTP/2 (RFC 9113 3.3).
pub(super) async fn serve_plain(client: Rc<Client>, mut stream: TcpStream) {
    let within = client.worker.settings.header_timeout;
    let sniffed = {
        let mut sniffed = pin!(timeout(within, preface::sniff(&mut stream)));
        select! {
            sniffed = &mut sniffed => sniffed,
            () = client.worker.drain.begun() => match timeout(LAST_CALL, sniffed).await {
                Ok(sniffed) => sniffed,
                Err(_) => return,
            },
        }
    };
    match sniffed {
        Ok(Ok((true, ahead))) => serve2(client, stream, ahead).await,
        Ok(Ok((false, ahead))) => serve1(client, stream, ahead).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Serves HTTP/1 on a stream of which `ahead` was read already.
pub(super) async fn serve1<S>(client: Rc<Client>, stream: S, ahead: Bytes)
where
    S: Side + 'static,
{
    let watch = Watch::http1();
    let switched: Rc<RefCell<Option<Switched>>> = Rc::default();
    let service = service_fn({
        let (client, watch, switched) = (client.clone(), watch.clone(), switched.clone());
        move |request: Request<Incoming>| {
            let (client, switched) = (client.clone(), switched.clone());
            let active = watch.begin(!request.body().is_end_stream());
            async move {
                let (response, switch) = forward::answer(&client, request, active).await;
                *switched.borrow_mut() = switch;
                Ok::<_, Infallible>(response)
            }
        }
    });
    let io = TokioIo::new(Watched::new(stream, ahead, watch.clone()));
    // Our own clock (see `Patience`) knows idle from slow and sets no timer for each request.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(MAX_HEADER)
        .serve_connection(io, service);
    let patience = Patience::new(watch.clone(), client.limits());
    let ended = drive(&client, patience, &mut connection, |c| {
        c.graceful_shutdown();
    })
    .await;
    if !ended {
        return;
    }
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().stream;
    match switched.take() {
        Some(switched) => tunnel(&client, (stream, parts.read_buf), switched).await,
        None if watch.owes_body() => linger(stream).await,
        None => {}
    }
}

/// Takes what the client is still sending after our last answer. Closing at once would reset the
/// connection, and the client could lose that answer (RFC 9112 9.6).
async fn linger<S: AsyncRead + Unpin>(mut stream: S) {
    // On the heap: an array would be part of every connection's task.
    let mut scrap = vec![0; 16 * 1024];
    let rest = async { while matches!(stream.read(&mut scrap).await, Ok(1..)) {} };
    let _ = timeout(LINGER, rest).await;
}

/// Serves HTTP/2 on a stream of which `ahead` was read already.
pub(super) async fn serve2<S>(client: Rc<Client>, stream: S, ahead: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let watch = Watch::http2();
    let service = service_fn({
        let (client, watch) = (client.clone(), watch.clone());
        move |request: Request<Incoming>| {
            let client = client.clone();
            let active = watch.begin(!request.body().is_end_stream());
            async move {
                let (response, _) = forward::answer(&client, request, active).await;
                Ok::<_, Infallible>(response)
            }
        }
    });
    let io = TokioIo::new(Watched::new(stream, ahead, watch.clone()));
    let mut connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER as u32)
        // Finds clients that vanished while a response is under way.
        .keep_alive_interval(client.worker.settings.idle_timeout)
        .serve_connection(io, service);
    let patience = Patience::new(watch, client.limits());
    drive(&client, patience, &mut connection, |c| {
        c.graceful_shutdown();
    })
    .await;
}

/// Polls a connection to its end. False: it failed, or its client ran out of time.
async fn drive<C>(
    client: &Client,
    mut patience: Patience,
    connection: &mut C,
    shut_down: impl Fn(Pin<&mut C>),
) -> bool
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut last_call = pin!(last_call(client, patience.watch().clone()));
    let mut is_draining = false;
    poll_fn(|cx| {
        loop {
            // First of all, for what has arrived is still to be answered.
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                if let Err(error) = &ended {
                    tracing::debug!(client = %client.peer, %error, "connection ended");
                }
                return Poll::Ready(ended.is_ok());
            }
            if is_draining || last_call.as_mut().poll(cx).is_pending() {
                return patience.poll_over(cx).map(|()| false);
            }
            is_draining = true;
            shut_down(Pin::new(connection));
        }
    })
    .await
}

/// Returns when the worker drains and the connection has had the chance to make a request.
async fn last_call(client: &Client, watch: Rc<Watch>) {
    client.worker.drain.begun().await;
    if watch.is_fresh() {
        let _ = timeout(LAST_CALL, watch.first_request()).await;
    }
}

/// The connection after `101 Switching Protocols`.
async fn tunnel<S>(client: &Client, stream: (S, Bytes), switched: Switched)
where
    S: Side,
{
    let silence = (&*client.worker.settings).into();
    if let Err(error) = relay(stream, switched.backend, silence).await {
        tracing::debug!(client = %client.peer, %error, "upgraded connection ended");
    }
    drop(switched.admission);
}

/// Streams of an HTTP/2 connection run on the worker that accepted it.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}
