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
    HeaderMap, Request, Response, Version,
    body::{Body, Bytes, Incoming},
    header::{self, HeaderValue},
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    select,
    task::spawn_local,
    time::timeout,
};

use super::{
    answer::Fault,
    connect,
    forward::{self, Switched},
    framing,
    headers::Facts,
    last_words::{linger, say_last},
    origin::Origin,
    pace::{self, Pace},
    preface,
    relay::{self, Side, relay},
    routes::Site,
    sections::{Sectioned, Sections},
    tls::Terminator,
    watch::{Limits, Patience, Watch},
    watched::Watched,
    worker::Worker,
};

/// While draining: for the first request of a connection that has just been accepted.
const LAST_CALL: Duration = Duration::from_secs(1);
/// For an answer to a client that has ended its side, where the settings say nothing: it has gone, most
/// often.
const TERMINATION: Duration = Duration::from_secs(10);
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// What a client may send on a stream before a backend has taken it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// All streams together: bodies that no backend takes leave the others their room.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// What is held for a client that does not take it, on one stream.
const SEND_BUFFER: usize = 32 * 1024;
/// What is read ahead of, or written behind, an HTTP/1 connection, beside a header section.
const BUFFER: usize = 64 * 1024;

/// A client's connection as its requests see it.
pub(super) struct Client {
    pub worker: Rc<Worker>,
    pub facts: Facts,
    pub peer: IpAddr,
    local: SocketAddr,
    /// The address that the client asked, from its own point of view.
    pub server: SocketAddr,
    /// Who ended its TLS.
    terminator: Option<Arc<Terminator>>,
    /// What servers are told of the certificate that it showed, where any are.
    certificate: Option<HeaderValue>,
    /// Until its first request says of which service it is.
    idle: Duration,
    /// hyper adds `Date` to each response without one: no service here is pristine.
    is_dated: bool,
}

impl Client {
    /// Without TLS.
    pub fn plain(worker: Rc<Worker>, origin: Origin) -> Rc<Self> {
        let idle = worker.settings.idle_timeout;
        Self::new(worker, origin, None, None, idle)
    }

    /// Of `site`, as far as its handshake says.
    pub fn secured(
        worker: Rc<Worker>,
        origin: Origin,
        site: &Site,
        certificate: Option<HeaderValue>,
    ) -> Rc<Self> {
        let idle = site.idle(&worker.settings);
        Self::new(worker, origin, site.terminator.clone(), certificate, idle)
    }

    fn new(
        worker: Rc<Worker>,
        origin: Origin,
        terminator: Option<Arc<Terminator>>,
        certificate: Option<HeaderValue>,
        idle: Duration,
    ) -> Rc<Self> {
        let (peer, local, server) = (origin.client.ip(), origin.local, origin.server);
        let (names, region) = (worker.names.clone(), worker.region.clone());
        let is_trusted = worker.settings.is_trusted(peer);
        let facts = Facts::new(names, region, &origin, terminator.is_some(), is_trusted);
        let is_dated = worker.with_routes(|routes| {
            let mut sites = routes.find(local).into_iter().flat_map(|frontend| frontend.sites());
            !sites.any(|site| site.rewrite.is_pristine)
        });
        Rc::new(Self {
            worker,
            facts,
            peer,
            local,
            server,
            terminator,
            certificate,
            idle,
            is_dated,
        })
    }

    /// Answers a request with why it gets no other answer.
    pub fn refuse(&self, fault: Fault, version: Version) -> Response<Bytes> {
        tracing::debug!(client = %self.peer, server = %self.local, reason = fault.word(), "refused");
        fault.answer(self.facts.names(), version)
    }

    /// Adds the time to a response of `site` that has none, where hyper does not.
    pub fn date(&self, site: &Site, headers: &mut HeaderMap) {
        if !self.is_dated && !site.rewrite.is_pristine && !headers.contains_key(header::DATE) {
            let now = httpdate::fmt_http_date(std::time::SystemTime::now());
            let now = HeaderValue::try_from(now).expect("letters, digits and signs");
            headers.insert(header::DATE, now);
        }
    }

    /// The service for a name here, by the routes that apply now. Without a name: the one that takes
    /// every name.
    pub fn site(&self, name: Option<&str>) -> Result<Arc<Site>, Fault> {
        self.worker.with_routes(|routes| {
            let site = routes.find(self.local).and_then(|frontend| match name {
                Some(_) => frontend.site(name),
                None => frontend.site_of_any(),
            });
            let missing = if name.is_some() { Fault::UnknownHost } else { Fault::BadHost };
            match site.ok_or(missing)? {
                site if site.is_http => Ok(site.clone()),
                // Its own connections are not looked into.
                _ => Err(Fault::Misdirected),
            }
        })
    }

    /// Whether this connection was asked for all that `site` asks of its clients.
    pub fn is_entitled(&self, site: &Site) -> bool {
        let asked = self.terminator.as_ref().and_then(|terminator| terminator.client_auth.as_ref());
        site.client_auth.is_none() || asked == site.client_auth.as_ref()
    }

    fn ended(&self, ended: hyper::Result<()>) -> Ended {
        let Err(error) = ended else {
            return Ended::Well;
        };
        tracing::debug!(client = %self.peer, %error, "connection ended");
        if error.is_parse() { Ended::Malformed(Fault::of_parser(&error)) } else { Ended::Broken }
    }

    fn limits(&self) -> Limits {
        let settings = &self.worker.settings;
        Limits {
            header: settings.header_timeout,
            termination: settings.termination_delay.unwrap_or(TERMINATION),
        }
    }

    /// What `site` is told of the certificate that the client showed.
    pub fn certificate(&self, site: &Site) -> Option<HeaderValue> {
        let certificate = self.certificate.as_ref()?;
        let terminator = site.terminator.as_ref()?;
        terminator.forwards_client_cert.then(|| certificate.clone())
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
        // Boxed, so that a client that says nothing holds none of it.
        Ok(Ok((true, ahead))) => Box::pin(serve2(client, stream, ahead)).await,
        Ok(Ok((false, ahead))) => Box::pin(serve1(client, stream, ahead)).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Serves HTTP/1 on a stream of which `ahead` was read already.
pub(super) async fn serve1<S>(client: Rc<Client>, stream: S, ahead: Bytes)
where
    S: Side + 'static,
{
    let watch = Watch::http1(client.worker.names.clone(), client.idle);
    let switched: Rc<RefCell<Option<Box<Switched>>>> = Rc::default();
    let pace = client.worker.settings.request_timeout.map(|total| (total, Rc::<Pace>::default()));
    let service = service_fn({
        let (client, watch, switched) = (client.clone(), watch.clone(), switched.clone());
        let pace = pace.clone();
        move |request: Request<Incoming>| {
            let (client, switched) = (client.clone(), switched.clone());
            let mut active = watch.begin(!request.body().is_end_stream());
            watch.set_old(request.version() < Version::HTTP_11);
            if let Some((total, pace)) = &pace {
                pace.begin(Some(*total), Duration::ZERO);
                active.pace = Some(pace.clone());
            }
            let received = forward::receive(&client, request, &active);
            async move {
                let (response, switch) = forward::answer(&client, received, active).await;
                *switched.borrow_mut() = switch;
                Ok::<_, Infallible>(response)
            }
        }
    });
    let io = TokioIo::new(Watched::new(stream, ahead, watch.clone()));
    // Our own clock (see `Patience`) knows idle from slow and sets no timer for each request.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(client.worker.settings.max_header_size)
        .max_buf_size(client.worker.settings.max_header_size.max(BUFFER))
        .auto_date_header(client.is_dated)
        .serve_connection(io, service);
    let patience = Patience::new(watch.clone(), client.limits());
    let shut_down = |c: Pin<&mut _>| http1::Connection::graceful_shutdown(c);
    let pace = pace.map(|(_, pace)| pace);
    let ended = drive(&client, patience, pace, &mut connection, shut_down).await;
    let is_late = watch.is_amid_header();
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().stream;
    match (ended, switched.take()) {
        (Ended::Well, Some(switched)) => {
            Box::pin(tunnel(&client, (stream, parts.read_buf), *switched)).await;
        }
        (Ended::Well, None) if watch.owes_body() => Box::pin(linger(stream)).await,
        (Ended::Malformed(fault), _) if watch.is_settled() => {
            Box::pin(say_last(&client, fault, stream)).await;
        }
        (Ended::Malformed(_), _) => Box::pin(linger(stream)).await,
        (Ended::OutOfTime, _) if is_late => {
            Box::pin(say_last(&client, Fault::SlowHeader, stream)).await;
        }
        // Its answer may have no other end than the connection's, which is not to look like one.
        (Ended::Broken | Ended::OutOfTime, _) if watch.is_old() && !watch.is_settled() => {
            relay::reset(&stream);
        }
        _ => {}
    }
}

/// How a client's connection came to its end.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Well,
    /// What the client sent is not HTTP.
    Malformed(Fault),
    Broken,
    /// The client has had its time.
    OutOfTime,
}

/// Serves HTTP/2 on a stream of which `ahead` was read already.
pub(super) async fn serve2<S>(client: Rc<Client>, stream: S, ahead: Bytes)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let watch = Watch::http2(client.worker.names.clone(), client.idle);
    let sections = Sections::new(client.worker.settings.max_header_size);
    let service = service_fn({
        let (client, watch) = (client.clone(), watch.clone());
        move |mut request: Request<Incoming>| {
            let (client, watch) = (client.clone(), watch.clone());
            let mut active = watch.begin(!request.body().is_end_stream());
            // Now, and not when its task runs: until then others would come.
            let share = sections.enter(&mut request);
            // Boxed: on its way into a task of its own the future is moved several times.
            Box::pin(async move {
                let settings = &client.worker.settings;
                let pace = pace::of_stream();
                pace.begin(settings.request_timeout, settings.idle_timeout);
                active.pace = Some(pace);
                active.seen = match &share {
                    Ok(_) => framing::check_section(&request, settings.max_header_size),
                    Err(fault) => Err(*fault),
                };
                let upgrade = connect::translate(&mut request);
                let received = forward::receive(&client, request, &active);
                let (response, switched) = forward::answer(&client, received, active).await;
                Ok::<_, Infallible>(match upgrade {
                    Some(upgrade) => connect::agree(&client, response, upgrade, switched, &watch),
                    None => response,
                })
            })
        }
    });
    let io = TokioIo::new(Sectioned::new(Watched::new(stream, ahead, watch.clone())));
    let mut connection = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .enable_connect_protocol()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        // What is larger gets hyper's answer, which says nothing of why.
        .max_header_list_size(2 * client.worker.settings.max_header_size as u32)
        .auto_date_header(client.is_dated)
        // Finds clients that vanished while a response is under way.
        .keep_alive_interval(client.worker.settings.idle_timeout)
        .serve_connection(io, service);
    let patience = Patience::new(watch, client.limits());
    let shut_down = |c: Pin<&mut _>| http2::Connection::graceful_shutdown(c);
    drive(&client, patience, None, &mut connection, shut_down).await;
}

/// Polls a connection to its end, or until its client has had its time.
async fn drive<C>(
    client: &Client,
    mut patience: Patience,
    pace: Option<Rc<Pace>>,
    connection: &mut C,
    shut_down: impl Fn(Pin<&mut C>),
) -> Ended
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut last_call = pin!(last_call(client, patience.watch().clone()));
    let mut is_draining = false;
    poll_fn(|cx| {
        loop {
            // First of all, for what has arrived is still to be answered.
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(client.ended(ended));
            }
            if is_draining || last_call.as_mut().poll(cx).is_pending() {
                let is_over = pace.as_ref().is_some_and(|pace| pace.poll_over(cx).is_ready());
                if is_over || patience.poll_over(cx).is_ready() {
                    return Poll::Ready(Ended::OutOfTime);
                }
                return Poll::Pending;
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
    if let Err(error) = relay(stream, switched.backend, switched.silence).await {
        tracing::debug!(client = %client.peer, %error, "upgraded connection ended");
    }
    drop(switched.admission);
}

/// Streams of an HTTP/2 connection run on the worker that accepted it.
#[derive(Clone)]
pub(super) struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        // Boxed: on its way into a task it would be moved several times, and it holds a response.
        spawn_local(pace::in_time(Box::pin(future)));
    }
}
