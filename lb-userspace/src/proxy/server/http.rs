//! HTTP towards the client: one connection, and each of its requests.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use hyper::{
    Request, Version,
    body::{Body, Bytes, Incoming},
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    select,
    task::spawn_local,
    time::timeout,
};

use super::{client::Client, extended_connect, forward};
use crate::proxy::{
    downstream::{
        activity::{Limits, Patience, Watch},
        header_sections::{Sectioned, Sections},
        request_deadline::{self, Pace},
        stream::Watched,
    },
    http::{
        fault::{self, Fault},
        framing, preface,
    },
    net::{
        linger::linger,
        relay::{self, Side, relay},
    },
    upstream::lease::Switched,
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

/// Without TLS the first bytes say whether the client speaks HTTP/2 (RFC 9113 3.3).
pub(crate) async fn serve_plain(client: Rc<Client>, mut stream: TcpStream) {
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
pub(crate) async fn serve1<S>(client: Rc<Client>, stream: S, ahead: Bytes)
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
    let patience = Patience::new(watch.clone(), limits(&client));
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

fn limits(client: &Client) -> Limits {
    let settings = &client.worker.settings;
    Limits {
        header: settings.header_timeout,
        termination: settings.termination_delay.unwrap_or(TERMINATION),
    }
}

fn came_to(client: &Client, ended: hyper::Result<()>) -> Ended {
    let Err(error) = ended else {
        return Ended::Well;
    };
    tracing::debug!(client = %client.peer, %error, "connection ended");
    if error.is_parse() { Ended::Malformed(Fault::of_parser(&error)) } else { Ended::Broken }
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
pub(crate) async fn serve2<S>(client: Rc<Client>, stream: S, ahead: Bytes)
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
                let pace = request_deadline::of_stream();
                pace.begin(settings.request_timeout, settings.idle_timeout);
                active.pace = Some(pace);
                active.seen = match &share {
                    Ok(_) => framing::check_section(&request, settings.max_header_size),
                    Err(fault) => Err(*fault),
                };
                let upgrade = extended_connect::translate(&mut request);
                let received = forward::receive(&client, request, &active);
                let (response, switched) = forward::answer(&client, received, active).await;
                Ok::<_, Infallible>(match upgrade {
                    Some(upgrade) => {
                        extended_connect::agree(&client, response, upgrade, switched, &watch)
                    }
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
    let patience = Patience::new(watch, limits(&client));
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
                return Poll::Ready(came_to(client, ended));
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

/// Answers what never became a request, and ends the connection.
async fn say_last<S>(client: &Client, fault: Fault, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = fault::to_bytes(client.refuse(fault, Version::HTTP_11));
    let within = client.worker.settings.idle_timeout;
    if let Ok(Ok(())) = timeout(within, stream.write_all(&answer)).await {
        linger(stream).await;
    }
}

/// Streams of an HTTP/2 connection run on the worker that accepted it.
#[derive(Clone)]
pub(crate) struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        // Boxed: on its way into a task it would be moved several times, and it holds a response.
        spawn_local(request_deadline::in_time(Box::pin(future)));
    }
}
