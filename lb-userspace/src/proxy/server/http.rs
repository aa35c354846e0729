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
    header::{self, HeaderValue},
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
        activity::{Activity, ClientLimits, ClientTimeout},
        header_sections::{Sectioned, Sections},
        request_deadline::{self, RequestDeadline},
        stream::ObservedStream,
    },
    http::{
        fault::{self, Fault},
        framing, preface,
    },
    net::{
        drain::DrainManner,
        linger::{Lingering, linger},
        relay::{self, RelayStream, relay},
    },
    upstream::lease::UpgradedBackend,
};

/// While draining: for the first request of a connection that has just been accepted.
const LAST_CALL: Duration = Duration::from_secs(1);
/// The same for any request of a client that is told with the response.
const LAST_REQUEST: Duration = Duration::from_secs(10);
/// For an answer to a client that has ended its side, where the settings say nothing: it has gone,
/// most often.
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
            () = client.drain.hurried() => match timeout(LAST_CALL, sniffed).await {
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
    S: RelayStream + 'static,
{
    let activity = Activity::http1(client.worker.names.clone(), client.idle);
    let switched: Rc<RefCell<Option<Box<UpgradedBackend>>>> = Rc::default();
    let total = client.worker.settings.request_timeout;
    let request_deadline = total.map(|total| (total, Rc::<RequestDeadline>::default()));
    let service = service_fn({
        let (client, activity, switched) = (client.clone(), activity.clone(), switched.clone());
        let request_deadline = request_deadline.clone();
        move |request: Request<Incoming>| {
            let (client, switched) = (client.clone(), switched.clone());
            let mut active = activity.begin(!request.body().is_end_stream());
            activity.set_old(request.version() < Version::HTTP_11);
            if let Some((total, request_deadline)) = &request_deadline {
                request_deadline.begin(Some(*total), Duration::ZERO);
                active.request_deadline = Some(request_deadline.clone());
            }
            let received = forward::receive(&client, request, &active);
            async move {
                let (mut response, switch) = forward::answer(&client, received, active).await;
                if switch.is_none() && client.drain.has_begun() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                *switched.borrow_mut() = switch;
                Ok::<_, Infallible>(response)
            }
        }
    });
    let io = TokioIo::new(ObservedStream::new(stream, ahead, activity.clone()));
    // Our own clock (see `ClientTimeout`) knows idle from slow and sets no timer for each request.
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(client.worker.settings.max_header_size)
        .max_buf_size(client.worker.settings.max_header_size.max(BUFFER))
        .auto_date_header(client.is_dated)
        .serve_connection(io, service);
    let client_timeout = ClientTimeout::new(activity.clone(), limits(&client));
    let shut_down = |c: Pin<&mut _>| http1::Connection::graceful_shutdown(c);
    let request_deadline = request_deadline.map(|(_, request_deadline)| request_deadline);
    let ended = drive(&client, client_timeout, request_deadline, &mut connection, shut_down).await;
    let parts = connection.into_parts();
    let stream = (parts.io.into_inner().stream, parts.read_buf);
    end(&client, &activity, ended, stream, switched.take()).await;
}

/// Ends an HTTP/1 connection as its last exchange wants it, or relays it after an upgrade.
async fn end<S: RelayStream>(
    client: &Client,
    activity: &Activity,
    ended: Ended,
    (stream, read): (S, Bytes),
    switched: Option<Box<UpgradedBackend>>,
) {
    match (ended, switched) {
        (Ended::Well, Some(switched)) => {
            Box::pin(tunnel(client, (stream, read), *switched)).await;
        }
        (Ended::Well, None) if activity.owes_body() => Box::pin(linger(stream)).await,
        (Ended::Malformed(fault), _) if activity.is_settled() => {
            Box::pin(say_last(client, fault, stream)).await;
        }
        (Ended::Malformed(_), _) => Box::pin(linger(stream)).await,
        (Ended::OutOfTime, _) if activity.is_amid_header() => {
            Box::pin(say_last(client, Fault::SlowHeader, stream)).await;
        }
        // Its answer may have no other end than the connection's, which is not to look like one.
        (Ended::Broken | Ended::OutOfTime, _) if activity.is_old() && !activity.is_settled() => {
            relay::reset(&stream);
        }
        _ => {}
    }
}

fn limits(client: &Client) -> ClientLimits {
    let settings = &client.worker.settings;
    ClientLimits {
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
    S: RelayStream + 'static,
{
    let activity = Activity::http2(client.worker.names.clone(), client.idle);
    let sections = Sections::new(client.worker.settings.max_header_size);
    let service = service_fn({
        let (client, activity) = (client.clone(), activity.clone());
        move |mut request: Request<Incoming>| {
            let (client, activity) = (client.clone(), activity.clone());
            let mut active = activity.begin(!request.body().is_end_stream());
            // Now, and not when its task runs: until then others would come.
            let share = sections.enter(&mut request);
            // Boxed: on its way into a task of its own the future is moved several times.
            Box::pin(async move {
                let settings = &client.worker.settings;
                let request_deadline = request_deadline::of_stream();
                request_deadline.begin(settings.request_timeout, settings.idle_timeout);
                active.request_deadline = Some(request_deadline);
                active.seen = match &share {
                    Ok(_) => framing::check_section(&request, settings.max_header_size),
                    Err(fault) => Err(*fault),
                };
                let upgrade = extended_connect::translate(&mut request);
                let received = forward::receive(&client, request, &active);
                let (response, switched) = forward::answer(&client, received, active).await;
                Ok::<_, Infallible>(match upgrade {
                    Some(upgrade) => {
                        extended_connect::agree(&client, response, upgrade, switched, &activity)
                    }
                    None => response,
                })
            })
        }
    });
    let sectioned = Sectioned::new(ObservedStream::new(stream, ahead, activity.clone()));
    let io = TokioIo::new(Lingering::new(sectioned));
    let mut connection = http2::Builder::new(LocalExecutor)
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
    let client_timeout = ClientTimeout::new(activity, limits(&client));
    let shut_down = |c: Pin<&mut _>| http2::Connection::graceful_shutdown(c);
    drive(&client, client_timeout, None, &mut connection, shut_down).await;
}

/// Polls a connection to its end, or until its client has had its time.
async fn drive<C>(
    client: &Client,
    mut client_timeout: ClientTimeout,
    request_deadline: Option<Rc<RequestDeadline>>,
    connection: &mut C,
    shut_down: impl Fn(Pin<&mut C>),
) -> Ended
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut last_call = pin!(last_call(client, client_timeout.activity().clone()));
    let mut is_draining = false;
    poll_fn(|cx| {
        loop {
            // First of all, for what has arrived is still to be answered.
            if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(came_to(client, ended));
            }
            if is_draining || last_call.as_mut().poll(cx).is_pending() {
                let is_over = request_deadline
                    .as_ref()
                    .is_some_and(|request_deadline| request_deadline.poll_over(cx).is_ready());
                if is_over || client_timeout.poll_over(cx).is_ready() {
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
async fn last_call(client: &Client, activity: Rc<Activity>) {
    if client.drain.begun().await == DrainManner::Gently && activity.is_http1() {
        // The connection ends with its next response, if there is one.
        let _ = timeout(LAST_REQUEST, client.drain.hurried()).await;
    } else if activity.is_fresh() {
        let _ = timeout(LAST_CALL, activity.first_request()).await;
    }
}

/// The connection after `101 Switching Protocols`.
async fn tunnel<S>(client: &Client, stream: (S, Bytes), switched: UpgradedBackend)
where
    S: RelayStream,
{
    let end = switched.upstreams.expelled(&switched.server);
    if let Err(error) = relay(stream, switched.backend, switched.timeouts, end).await {
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
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        // Boxed: on its way into a task it would be moved several times, and it holds a response.
        spawn_local(request_deadline::in_time(Box::pin(future)));
    }
}
