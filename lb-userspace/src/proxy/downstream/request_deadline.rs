//! How long one request may take, and how long its client may leave the response lying.
//!
//! hyper asks a response's body for more only when the client has taken what there is, so that the
//! body itself never learns of a client that takes nothing. Whoever drives the response looks at
//! its `RequestDeadline` after each round and gives it up when its time has passed: for HTTP/1 the
//! task of the connection, for HTTP/2 that of the stream, for which the client's socket says
//! nothing.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{task_local, time::Instant};

use crate::proxy::net::timer::LazyTimer;

task_local! {
    /// Of the stream whose task this is.
    static STREAM: Rc<RequestDeadline>;
}

#[derive(Default)]
pub(crate) struct RequestDeadline {
    /// `request_timeout` after the request's header.
    deadline: Cell<Option<Instant>>,
    /// When a part of the response was handed to the client that it must take before the next.
    offered: Cell<Option<Instant>>,
    idle: Cell<Duration>,
    timer: RefCell<LazyTimer>,
}

impl RequestDeadline {
    /// A request begins. Without `idle`, somebody else looks after clients that take nothing.
    pub(crate) fn begin(&self, total: Option<Duration>, idle: Duration) {
        self.deadline.set(total.map(|total| Instant::now() + total));
        self.offered.set(None);
        self.idle.set(idle);
    }

    /// A stream's, once it is known of which service it is.
    pub(crate) fn set_idle(&self, idle: Duration) {
        if self.is_stream() {
            self.idle.set(idle);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// The request's end, or that of its limits: what follows is a tunnel.
    pub(crate) fn end(&self) {
        self.deadline.set(None);
        self.offered.set(None);
    }

    /// The body was asked for more; `has_more` of it went towards the client.
    pub(crate) fn polled(&self, has_more: bool) {
        if self.is_stream() {
            self.offered.set(has_more.then(Instant::now));
        }
    }

    fn is_stream(&self) -> bool {
        !self.idle.get().is_zero()
    }

    /// Ready when the time has passed.
    pub(crate) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let taken = self.offered.get().map(|since| since + self.idle.get());
        match [self.deadline.get(), taken].into_iter().flatten().min() {
            Some(deadline) => self.timer.borrow_mut().poll(cx, deadline),
            None => Poll::Pending,
        }
    }
}

/// Runs a stream of HTTP/2 until it ends or its time has passed; then it is reset.
pub(crate) async fn in_time(stream: impl Future) {
    let request_deadline = Rc::<RequestDeadline>::default();
    STREAM
        .scope(request_deadline.clone(), async {
            let mut stream = pin!(stream);
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                request_deadline.poll_over(cx)
            })
            .await;
        })
        .await;
}

/// The request_deadline of the stream that runs now.
pub(crate) fn of_stream() -> Rc<RequestDeadline> {
    STREAM.try_with(Rc::clone).unwrap_or_default()
}
