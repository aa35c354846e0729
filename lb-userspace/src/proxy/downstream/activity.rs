//! What a client connection is doing, and until when it may go on doing nothing else.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{io::AsyncWrite, net::TcpStream, sync::Notify, time::Instant};

use super::{interim::Outbox, request_deadline::RequestDeadline};
use crate::proxy::{
    http::{fault::Fault, headers::HeaderNames, request_scanner::RequestScanner},
    net::{reset_watch::ResetWatch, timer::LazyTimer},
};

/// Time allowed in each state, beside the idle one.
#[derive(Clone, Copy)]
pub(crate) struct ClientLimits {
    pub header: Duration,
    /// For the next byte of an answer, once the client has ended its side.
    pub termination: Duration,
}

/// Shared by a connection's I/O, its requests and the task that drives it.
pub(crate) struct Activity {
    pub names: Arc<HeaderNames>,
    /// How long it may do nothing, by the service of its last request.
    idle: Cell<Duration>,
    /// Requests that are being answered.
    active: Cell<u32>,
    /// No request has come yet.
    is_fresh: Cell<bool>,
    first: Notify,
    /// Some of a request's header section has arrived, or the first request is awaited.
    in_header: Cell<bool>,
    /// Only of HTTP/1.
    scanner: Option<RefCell<RequestScanner>>,
    /// The latest request's body has not been read to its end.
    owes_body: Cell<bool>,
    /// The client does not take what we have for it.
    stalled: Cell<bool>,
    /// Only of HTTP/1: all that was answered has been written. What hyper writes now it says of its
    /// own accord, which is kept from the client: the answer is to be one of ours.
    is_settled: Cell<bool>,
    has_withheld: Cell<bool>,
    /// Only of HTTP/1: what the backend says first.
    outbox: OnceCell<Arc<Outbox>>,
    /// Only of HTTP/1: the client has ended its side amid an exchange, and hyper is yet to hear of
    /// it.
    held: Cell<Option<Waker>>,
    is_half_closed: Cell<bool>,
    reset_watch: RefCell<Option<ResetWatch>>,
    /// The latest request came by HTTP/1.0.
    is_old: Cell<bool>,
    /// hyper has written all that it had: something else may be said before what it says next.
    is_between: Cell<bool>,
    /// Bytes of requests' bodies that are kept for another try.
    pub buffered: Cell<u64>,
    /// Changes whenever the time allowed starts anew.
    epoch: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Stalled,
    Busy,
    /// Busy for a client that awaits the answer, or is gone.
    HalfClosed,
    Header,
    Idle,
}

impl Activity {
    /// HTTP/1: the header section is read byte by byte, and the first one is awaited at once.
    pub(crate) fn http1(names: Arc<HeaderNames>, idle: Duration) -> Rc<Self> {
        Self::new(names, idle, true)
    }

    /// HTTP/2: bytes without a request mean nothing by themselves.
    pub(crate) fn http2(names: Arc<HeaderNames>, idle: Duration) -> Rc<Self> {
        Self::new(names, idle, false)
    }

    fn new(names: Arc<HeaderNames>, idle: Duration, tracks_header: bool) -> Rc<Self> {
        Rc::new(Self {
            names,
            idle: Cell::new(idle),
            active: Cell::new(0),
            is_fresh: Cell::new(true),
            first: Notify::new(),
            in_header: Cell::new(tracks_header),
            scanner: tracks_header.then(RefCell::default),
            owes_body: Cell::new(false),
            stalled: Cell::new(false),
            is_settled: Cell::new(tracks_header),
            has_withheld: Cell::new(false),
            outbox: OnceCell::new(),
            held: Cell::default(),
            is_half_closed: Cell::new(false),
            reset_watch: RefCell::default(),
            is_old: Cell::new(false),
            is_between: Cell::new(true),
            buffered: Cell::new(0),
            epoch: Cell::new(0),
        })
    }

    /// A request's header section is complete; it is active until the guard is dropped.
    pub(crate) fn begin(self: &Rc<Self>, has_body: bool) -> ActiveRequest {
        self.owes_body.set(has_body);
        if self.is_fresh.replace(false) {
            self.first.notify_waiters();
        }
        self.in_header.set(false);
        self.is_settled.set(false);
        self.active.set(self.active.get() + 1);
        let scanner = self.scanner.as_ref();
        let seen = scanner.map_or(Ok(()), |scanner| scanner.borrow_mut().finish());
        ActiveRequest { activity: self.clone(), seen, request_deadline: None }
    }

    /// How long the client may leave us waiting.
    pub(crate) fn idle(&self) -> Duration {
        self.idle.get()
    }

    pub(crate) fn is_http1(&self) -> bool {
        self.scanner.is_some()
    }

    pub(crate) fn set_old(&self, is_old: bool) {
        self.is_old.set(is_old);
    }

    pub(crate) fn is_old(&self) -> bool {
        self.is_old.get()
    }

    /// For what the backend of the request that is being answered says first.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        self.outbox.get_or_init(Arc::default).clone()
    }

    /// Has the client told what backends have said so far.
    pub(crate) fn poll_outbox<W: AsyncWrite>(
        &self,
        to: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.outbox.get() {
            None => Poll::Ready(Ok(())),
            Some(outbox) if self.is_between.get() => outbox.poll_empty(to, cx),
            Some(outbox) => {
                outbox.clear();
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh.get()
    }

    /// Returns when the first request has begun.
    pub(crate) async fn first_request(&self) {
        let first = self.first.notified();
        if self.is_fresh.get() {
            first.await;
        }
    }

    pub(crate) fn owes_body(&self) -> bool {
        self.owes_body.get()
    }

    pub(crate) fn body_done(&self) {
        self.owes_body.set(false);
    }

    fn end(&self) {
        self.active.set(self.active.get() - 1);
        // Of a pipelined request some has come, perhaps.
        let scanner = self.scanner.as_ref().filter(|_| self.active.get() == 0);
        if scanner.is_some_and(|scanner| scanner.borrow().is_within()) {
            self.in_header.set(true);
        }
        self.restart();
    }

    fn restart(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// How many of `bytes`, which have come, hyper may have.
    pub(crate) fn read(&self, bytes: &[u8]) -> usize {
        let Some(scanner) = &self.scanner else {
            return bytes.len();
        };
        if self.active.get() == 0 {
            self.in_header.set(true);
        }
        scanner.borrow_mut().look(bytes)
    }

    /// The client has ended its side. Whether hyper hears of it later: behind a whole request the
    /// client awaits the answer, which hyper would give up.
    /// Meanwhile `stream` is watched for a reset.
    pub(crate) fn holds_end(&self, stream: Option<&TcpStream>, cx: &Context<'_>) -> bool {
        let scanner = self.scanner.as_ref().filter(|_| !self.is_settled());
        let holds = scanner.is_some_and(|scanner| !scanner.borrow().is_in_body());
        if holds {
            if !self.is_half_closed.replace(true) {
                *self.reset_watch.borrow_mut() = stream.and_then(ResetWatch::new);
            }
            self.held.set(Some(cx.waker().clone()));
        }
        holds
    }

    /// Whether a header section has begun and is not complete, and all that was said before it has
    /// reached the client.
    pub(crate) fn is_amid_header(&self) -> bool {
        let scanner = self.scanner.as_ref().filter(|_| self.state() == State::Header);
        scanner.is_some_and(|scanner| scanner.borrow().is_within())
    }

    /// Progress, however little, starts the client's time anew.
    pub(crate) fn wrote(&self, is_pending: bool) {
        let was_pending = self.stalled.replace(is_pending);
        if was_pending && !is_pending {
            self.restart();
        }
    }

    /// So does a byte of the answer for one that has ended its side.
    pub(crate) fn sent(&self) {
        if self.is_half_closed.get() {
            self.restart();
        }
    }

    pub(crate) fn has_withheld(&self) -> bool {
        self.has_withheld.get()
    }

    /// hyper has written all that it had.
    pub(crate) fn set_between(&self, is_between: bool) {
        self.is_between.set(is_between);
    }

    /// All that hyper had to write has been sent.
    pub(crate) fn flushed(&self) {
        if self.active.get() == 0 && self.scanner.is_some() {
            self.is_settled.set(true);
            self.held.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether what hyper writes is nothing that we answered.
    pub(crate) fn withholds(&self) -> bool {
        let is_settled = self.is_settled.get();
        self.has_withheld.set(is_settled);
        is_settled
    }

    /// Whether the client has had all answers, each whole, and can be told something else.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    /// Ready when a client that has ended its side turns out to be gone.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut watch = self.reset_watch.borrow_mut();
        watch.as_mut().map_or(Poll::Pending, |watch| watch.poll(cx))
    }

    fn state(&self) -> State {
        if self.stalled.get() {
            State::Stalled
        } else if self.active.get() > 0 {
            if self.is_half_closed.get() { State::HalfClosed } else { State::Busy }
        } else if self.in_header.get() {
            State::Header
        } else {
            State::Idle
        }
    }
}

/// A request that is being answered.
pub(crate) struct ActiveRequest {
    activity: Rc<Activity>,
    /// What the scanner says of its header section.
    pub seen: Result<(), Fault>,
    pub request_deadline: Option<Rc<RequestDeadline>>,
}

impl ActiveRequest {
    pub(crate) fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }

    /// How long the client may do nothing, from here on.
    pub(crate) fn set_idle(&self, idle: Duration) {
        self.activity.idle.set(idle);
        if let Some(request_deadline) = &self.request_deadline {
            request_deadline.set_idle(idle);
        }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.activity.end();
    }
}

/// Held by the task that drives the connection; polled after each round.
pub(crate) struct ClientTimeout {
    activity: Rc<Activity>,
    limits: ClientLimits,
    timer: LazyTimer,
    seen: (State, u32),
    since: Instant,
}

impl ClientTimeout {
    pub(crate) fn new(activity: Rc<Activity>, limits: ClientLimits) -> Self {
        Self {
            seen: (activity.state(), activity.epoch.get()),
            activity,
            limits,
            timer: LazyTimer::default(),
            since: Instant::now(),
        }
    }

    pub(crate) fn activity(&self) -> &Rc<Activity> {
        &self.activity
    }

    /// Ready when the client has had its time. A request that is being answered has no limit here.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = (self.activity.state(), self.activity.epoch.get());
        if now != self.seen {
            self.seen = now;
            if now.0 != State::Busy {
                self.since = Instant::now();
            }
        }
        let allowed = match now.0 {
            State::Busy => return Poll::Pending,
            State::HalfClosed if self.activity.poll_gone(cx).is_ready() => return Poll::Ready(()),
            State::HalfClosed => self.limits.termination.min(self.activity.idle()),
            State::Header => self.limits.header,
            State::Stalled | State::Idle => self.activity.idle(),
        };
        self.timer.poll(cx, self.since + allowed)
    }
}
