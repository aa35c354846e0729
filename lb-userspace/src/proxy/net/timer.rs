//! A deadline that may move at every poll and costs a timer only when it comes near.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Moving the deadline later, as each request does, touches no timer: the timer that is running
/// rings too early, sees that, and is set anew.
#[derive(Default)]
pub(crate) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the running timer wakes.
    waker: Option<Waker>,
}

impl LazyTimer {
    /// Ready once `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        let is_heard = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_heard && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        if !is_heard {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
