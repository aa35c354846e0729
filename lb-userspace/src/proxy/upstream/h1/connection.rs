//! One HTTP/1.1 connection to a backend.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Incoming},
    client::conn::http1::{self, Connection, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{AbortHandle, spawn_local},
    time::Instant,
};

use crate::proxy::{
    downstream::request_body::{BodyProgress, RequestBody},
    http::fault::Fault,
    net::{
        coalesce::CoalescedWrites, early_response::EarlyResponseStream, timer::LazyTimer,
        waker::CoalescingWaker,
    },
};

type Driver = Connection<TokioIo<EarlyResponseStream<CoalescedWrites>>, RequestBody>;

/// What is read ahead of a client that takes nothing, and the largest header section of a response.
const BUFFER: usize = 128 * 1024;

/// The connection is polled inside the task of the request that uses it: no wake-up crosses
/// tasks, which is most of what a proxied request costs otherwise.
pub(crate) struct H1Connection {
    sender: SendRequest<RequestBody>,
    driver: Option<Driver>,
    /// The driver has come to its end and must not be polled again.
    is_finished: bool,
    /// It serves no other request, see [`is_spent`].
    is_spent: bool,
    /// Set where a task of its own drives the connection, see [`H1Connection::detach`].
    detached: Option<Detached>,
    timer: LazyTimer,
    waker: CoalescingWaker,
}

struct Detached(AbortHandle);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a request may take.
#[derive(Clone, Copy)]
pub(crate) struct ResponseTimeouts {
    /// From the end of the request to the response's header.
    pub response_header: Duration,
}

pub(crate) enum SendFailure {
    /// Nothing of the request was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before a whole response header.
    Closed,
    /// The request's stream alone did, and not because it was refused.
    Reset,
    /// The server says that it did nothing about it (RFC 9113 8.7).
    Refused,
    /// The client did not deliver the request it began.
    Body(Fault),
    /// The client stopped delivering it.
    SlowBody,
    /// The response is not HTTP.
    Malformed,
    /// The response's header section is too large, or has too many lines.
    TooLarge,
    Overdue,
}

impl H1Connection {
    pub(crate) async fn open(stream: TcpStream) -> hyper::Result<Box<Self>> {
        let io = TokioIo::new(EarlyResponseStream::new(CoalescedWrites(stream)));
        let opened = http1::Builder::new().max_buf_size(BUFFER).handshake(io);
        let (sender, driver) = opened.await?;
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            is_finished: false,
            is_spent: false,
            detached: None,
            timer: LazyTimer::default(),
            waker: CoalescingWaker::default(),
        }))
    }

    /// Polls `work`, and moves the bytes that it waits for. The connection's end shows in what it
    /// was working on.
    pub(crate) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        // What has been read with the response's head, most often.
        if let Poll::Ready(done) = self.waker.poll_quietly(&mut work) {
            return Poll::Ready(done);
        }
        let (driver, is_finished) = (&mut self.driver, &mut self.is_finished);
        self.waker.poll_inside(cx, |cx| {
            drive(driver, is_finished, cx);
            work(cx)
        })
    }

    /// Whether another request can be sent. The last one's task hears nothing of it any more.
    pub(crate) fn is_reusable(&mut self) -> bool {
        if self.is_spent {
            return false;
        }
        // Nothing new since it was polled, if nothing called.
        if self.waker.was_woken() || !self.sender.is_ready() {
            let (driver, is_finished) = (&mut self.driver, &mut self.is_finished);
            let _ = self.waker.poll_inside(&mut Context::from_waker(Waker::noop()), |cx| {
                drive(driver, is_finished, cx);
                Poll::Ready(())
            });
        }
        self.waker.detach();
        !self.is_finished && !self.sender.is_closed() && self.sender.is_ready()
    }

    pub(crate) async fn send(
        &mut self,
        request: Box<Request<RequestBody>>,
        response_timeouts: ResponseTimeouts,
    ) -> Result<Box<Response<Incoming>>, SendFailure> {
        let progress = request.body().progress();
        let mut clock = ResponseClock::new(progress.clone(), response_timeouts);
        let sending = self.sender.try_send_request(*request);
        let mut sending = pin!(sending);
        let (driver, is_finished) = (&mut self.driver, &mut self.is_finished);
        let mut poll = |cx: &mut Context<'_>| {
            drive(driver, is_finished, cx);
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Ok(sent));
            }
            if *is_finished {
                // It ended before it took the request, which comes back when it is dropped.
                *driver = None;
                return sending.as_mut().poll(cx).map(Ok);
            }
            let overdue = self.timer.poll(cx, clock.deadline());
            overdue.map(|()| Err(clock.late()))
        };
        let sent = poll_fn(|cx| self.waker.poll_inside(cx, &mut poll)).await?;
        let response = sent.map_err(|mut error| match error.take_message() {
            Some(request) => SendFailure::Unsent(Box::new(request)),
            None => SendFailure::classify(&error.into_error(), progress.as_deref()),
        })?;
        self.is_spent = is_spent(&response);
        Ok(Box::new(response))
    }

    /// Lets a task drive the connection from here on: the client still sends its request while the
    /// response is under way, and neither may wait for the other.
    pub(crate) fn detach(&mut self) {
        if let Some(driver) = self.driver.take() {
            let task = spawn_local(async move {
                if let Err(error) = driver.await {
                    tracing::debug!(%error, "backend connection ended");
                }
            });
            self.detached = Some(Detached(task.abort_handle()));
        }
    }

    /// The stream after `101 Switching Protocols`, and what was read of it already.
    pub(crate) async fn into_stream(mut self: Box<Self>) -> Option<(TcpStream, Bytes)> {
        poll_fn(|cx| {
            drive(&mut self.driver, &mut self.is_finished, cx);
            if self.is_finished || self.driver.is_none() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.driver?.into_parts();
        Some((parts.io.into_inner().into_inner().0, parts.read_buf))
    }
}

fn drive(driver: &mut Option<Driver>, is_finished: &mut bool, cx: &mut Context<'_>) {
    if let Some(driver) = driver
        && !*is_finished
    {
        *is_finished = Pin::new(driver).poll(cx).is_ready();
    }
}

/// Whether the connection that `response` came over must not carry another request.
///
/// hyper speaks the version of the last response from then on, and HTTP/1.0 has neither chunks nor
/// upgrades: a body of unknown length would be left out without a word. A response with two
/// framings may end elsewhere for the server than for us (RFC 9112 6.3).
fn is_spent(response: &Response<Incoming>) -> bool {
    let has_length = || response.headers().contains_key(header::CONTENT_LENGTH);
    response.version() < Version::HTTP_11
        || (response.body().size_hint().exact().is_none() && has_length())
}

/// What a request waits for, and until when.
pub(crate) struct ResponseClock {
    progress: Option<Rc<BodyProgress>>,
    response_timeouts: ResponseTimeouts,
    sent: Option<Instant>,
}

impl ResponseClock {
    pub(crate) fn new(
        progress: Option<Rc<BodyProgress>>,
        response_timeouts: ResponseTimeouts,
    ) -> Self {
        Self { progress, response_timeouts, sent: None }
    }

    fn in_body(&self) -> Option<&BodyProgress> {
        self.progress.as_deref().filter(|progress| !progress.is_done())
    }

    pub(crate) fn deadline(&mut self) -> Instant {
        if let Some(progress) = self.in_body() {
            return progress.deadline();
        }
        let sent = *self.sent.get_or_insert_with(Instant::now);
        sent + self.response_timeouts.response_header
    }

    pub(crate) fn late(&self) -> SendFailure {
        match self.in_body() {
            Some(progress) if progress.waits_for_client() => SendFailure::SlowBody,
            _ => SendFailure::Overdue,
        }
    }
}

impl SendFailure {
    pub(crate) fn classify(error: &hyper::Error, progress: Option<&BodyProgress>) -> Self {
        tracing::debug!(%error, "request to backend failed");
        if let Some(fault) = progress.and_then(BodyProgress::fault) {
            Self::Body(fault)
        } else if error.is_parse_too_large() {
            Self::TooLarge
        } else if error.is_parse() {
            Self::Malformed
        } else {
            Self::Closed
        }
    }
}
