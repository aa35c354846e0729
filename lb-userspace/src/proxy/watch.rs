//! What a client connection is doing, and until when it may go on doing nothing else.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

use super::{alarm::Alarm, answer::Fault, gather, pace::Pace, witness::Witness};

/// Time allowed in each state.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub header: Duration,
    pub idle: Duration,
}

/// Shared by a connection's I/O, its requests and the task that drives it.
pub(super) struct Watch {
    /// Requests that are being answered.
    active: Cell<u32>,
    /// No request has come yet.
    is_fresh: Cell<bool>,
    first: Notify,
    /// Some of a request's header section has arrived, or the first request is awaited.
    in_header: Cell<bool>,
    /// Only of HTTP/1.
    witness: Option<RefCell<Witness>>,
    /// The latest request's body has not been read to its end.
    owes_body: Cell<bool>,
    /// The client does not take what we have for it.
    stalled: Cell<bool>,
    /// Only of HTTP/1: all that was answered has been written. What hyper writes now it says of its
    /// own accord, which is kept from the client: the answer is to be one of ours.
    is_settled: Cell<bool>,
    has_withheld: Cell<bool>,
    /// Changes whenever the time allowed starts anew.
    epoch: Cell<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Stalled,
    Busy,
    Header,
    Idle,
}

impl Watch {
    /// HTTP/1: the header section is read byte by byte, and the first one is awaited at once.
    pub fn http1() -> Rc<Self> {
        Self::new(true)
    }

    /// HTTP/2: bytes without a request mean nothing by themselves.
    pub fn http2() -> Rc<Self> {
        Self::new(false)
    }

    fn new(tracks_header: bool) -> Rc<Self> {
        Rc::new(Self {
            active: Cell::new(0),
            is_fresh: Cell::new(true),
            first: Notify::new(),
            in_header: Cell::new(tracks_header),
            witness: tracks_header.then(RefCell::default),
            owes_body: Cell::new(false),
            stalled: Cell::new(false),
            is_settled: Cell::new(tracks_header),
            has_withheld: Cell::new(false),
            epoch: Cell::new(0),
        })
    }

    /// A request's header section is complete; it is active until the guard is dropped.
    pub fn begin(self: &Rc<Self>, has_body: bool) -> Active {
        self.owes_body.set(has_body);
        if self.is_fresh.replace(false) {
            self.first.notify_waiters();
        }
        self.in_header.set(false);
        self.is_settled.set(false);
        self.active.set(self.active.get() + 1);
        let witness = self.witness.as_ref();
        let seen = witness.map_or(Ok(()), |witness| witness.borrow_mut().finish());
        Active { watch: self.clone(), seen, pace: None }
    }

    pub fn is_fresh(&self) -> bool {
        self.is_fresh.get()
    }

    /// Returns when the first request has begun.
    pub async fn first_request(&self) {
        let first = self.first.notified();
        if self.is_fresh.get() {
            first.await;
        }
    }

    pub fn owes_body(&self) -> bool {
        self.owes_body.get()
    }

    pub fn body_done(&self) {
        self.owes_body.set(false);
    }

    fn end(&self) {
        self.active.set(self.active.get() - 1);
        // Of a pipelined request some has come, perhaps.
        let witness = self.witness.as_ref().filter(|_| self.active.get() == 0);
        if witness.is_some_and(|witness| witness.borrow().is_within()) {
            self.in_header.set(true);
        }
        self.restart();
    }

    fn restart(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    fn read(&self, bytes: &[u8]) {
        if let Some(witness) = &self.witness {
            witness.borrow_mut().look(bytes);
            if self.active.get() == 0 {
                self.in_header.set(true);
            }
        }
    }

    /// Whether a header section has begun and is not complete, and all that was said before it has
    /// reached the client.
    pub fn is_amid_header(&self) -> bool {
        let witness = self.witness.as_ref().filter(|_| self.state() == State::Header);
        witness.is_some_and(|witness| witness.borrow().is_within())
    }

    /// Progress, however little, starts the client's time anew.
    fn wrote(&self, is_pending: bool) {
        let was_pending = self.stalled.replace(is_pending);
        if was_pending && !is_pending {
            self.restart();
        }
    }

    /// All that hyper had to write has been written.
    fn flushed(&self) {
        if self.active.get() == 0 && self.witness.is_some() {
            self.is_settled.set(true);
        }
    }

    /// Whether what hyper writes is nothing that we answered.
    fn withholds(&self) -> bool {
        let is_settled = self.is_settled.get();
        self.has_withheld.set(is_settled);
        is_settled
    }

    /// Whether the client has had all answers, each whole, and can be told something else.
    pub fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    fn state(&self) -> State {
        if self.stalled.get() {
            State::Stalled
        } else if self.active.get() > 0 {
            State::Busy
        } else if self.in_header.get() {
            State::Header
        } else {
            State::Idle
        }
    }
}

/// A request that is being answered.
pub(super) struct Active {
    watch: Rc<Watch>,
    /// What the witness says of its header section.
    pub seen: Result<(), Fault>,
    pub pace: Option<Rc<Pace>>,
}

impl Active {
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.watch.end();
    }
}

/// Held by the task that drives the connection; polled after each round.
pub(super) struct Patience {
    watch: Rc<Watch>,
    limits: Limits,
    alarm: Alarm,
    seen: (State, u32),
    since: Instant,
}

impl Patience {
    pub fn new(watch: Rc<Watch>, limits: Limits) -> Self {
        Self {
            seen: (watch.state(), watch.epoch.get()),
            watch,
            limits,
            alarm: Alarm::default(),
            since: Instant::now(),
        }
    }

    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// Ready when the client has had its time. A request that is being answered has no limit here.
    pub fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = (self.watch.state(), self.watch.epoch.get());
        if now != self.seen {
            self.seen = now;
            if now.0 != State::Busy {
                self.since = Instant::now();
            }
        }
        let allowed = match now.0 {
            State::Busy => return Poll::Pending,
            State::Header => self.limits.header,
            State::Stalled | State::Idle => self.limits.idle,
        };
        self.alarm.poll(cx, self.since + allowed)
    }
}

/// A client's stream that tells its [`Watch`] what happens, and can give back what was read of it.
pub(super) struct Watched<T> {
    pub stream: T,
    ahead: Bytes,
    watch: Rc<Watch>,
}

impl<T> Watched<T> {
    /// `ahead` was read from `stream` already.
    pub fn new(stream: T, ahead: Bytes, watch: Rc<Watch>) -> Self {
        Self { stream, ahead, watch }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let length = self.ahead.len().min(buf.remaining());
            let ahead = self.ahead.split_to(length);
            buf.put_slice(&ahead);
            self.watch.read(&ahead);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.read(&buf.filled()[before..]);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.withholds() {
            return Poll::Ready(Ok(buf.len()));
        }
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch.wrote(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.watch.withholds() {
            return Poll::Ready(Ok(bufs.iter().map(|piece| piece.len()).sum()));
        }
        let wrote = gather::poll_write(Pin::new(&mut self.stream), cx, bufs);
        self.watch.wrote(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch.wrote(flushed.is_pending());
        if flushed.is_ready() {
            self.watch.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.has_withheld.get() {
            // The answer is still to be given.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
