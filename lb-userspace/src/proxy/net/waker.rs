//! A waker that does not wake who is at the door already.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// How often work is polled in one go. It may wake itself without end where it has had its share of
/// the worker's time (tokio's budget), and must yield then.
const ROUNDS: u32 = 4;

/// For parts of one task that talk to each other, as a request and the connection that it drives
/// do. Each wakes the other by the task's waker, and so the whole task would be polled again for
/// news that it has seen. What rings while the task attends only has it look once more.
pub(crate) struct CoalescingWaker {
    inner: Arc<Inner>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    task: AtomicWaker,
    is_attended: AtomicBool,
    has_rung: AtomicBool,
    /// It rang while nobody attended.
    was_woken: AtomicBool,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, SeqCst);
        if !self.is_attended.load(SeqCst) {
            self.was_woken.store(true, SeqCst);
            self.task.wake();
        }
    }
}

impl Default for CoalescingWaker {
    fn default() -> Self {
        let inner = Arc::new(Inner::default());
        Self { waker: inner.clone().into(), inner }
    }
}

impl CoalescingWaker {
    /// Polls `work` until it is ready or nothing in it calls for another look. Later calls wake the
    /// task of `cx`.
    ///
    /// Who gets something ready must come back, as with every stream: calls up to then are
    /// forgotten.
    pub(crate) fn poll_inside<T>(
        &self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Inner { task, is_attended, has_rung, .. } = &*self.inner;
        task.register(cx.waker());
        is_attended.store(true, SeqCst);
        let mut inside = Context::from_waker(&self.waker);
        let mut polled = Poll::Pending;
        for _ in 0..ROUNDS {
            has_rung.store(false, SeqCst);
            polled = work(&mut inside);
            if polled.is_ready() || !has_rung.load(SeqCst) {
                break;
            }
        }
        is_attended.store(false, SeqCst);
        // Out of rounds, or rung from elsewhere just now.
        if polled.is_pending() && has_rung.load(SeqCst) {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Polls `work` once, which will be attended to right afterwards if it is not ready.
    pub(crate) fn poll_quietly<T>(
        &self,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.inner.is_attended.store(true, SeqCst);
        let polled = work(&mut Context::from_waker(&self.waker));
        self.inner.is_attended.store(false, SeqCst);
        polled
    }

    /// Wakes nobody until it is attended again, and holds no task that has ended.
    pub(crate) fn detach(&self) {
        drop(self.inner.task.take());
    }

    /// Whether it rang from elsewhere since this was asked last.
    pub(crate) fn was_woken(&self) -> bool {
        self.inner.was_woken.load(SeqCst) && self.inner.was_woken.swap(false, SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn task() -> (Arc<Woken>, Waker) {
        let woken = Arc::<Woken>::default();
        (woken.clone(), woken.into())
    }

    #[test]
    fn who_rings_inside_is_polled_again_and_wakes_nobody() {
        let (coalescing, (woken, waker)) = (CoalescingWaker::default(), task());
        let mut rounds = 0;
        let polled = coalescing.poll_inside(&mut Context::from_waker(&waker), |cx| {
            rounds += 1;
            if rounds < 2 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((rounds, woken.0.load(SeqCst)), (2, 0));
    }

    #[test]
    fn who_rings_later_wakes_the_task_that_attended_last() {
        let (coalescing, (first, one), (second, other)) =
            (CoalescingWaker::default(), task(), task());
        let mut inside = None;
        for waker in [&one, &other] {
            let _ = coalescing.poll_inside(&mut Context::from_waker(waker), |cx| {
                inside = Some(cx.waker().clone());
                Poll::<()>::Pending
            });
        }
        assert!(!coalescing.was_woken());
        inside.unwrap().wake();
        assert!(coalescing.was_woken() && !coalescing.was_woken());
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
    }

    #[test]
    fn who_rings_without_end_lets_others_have_their_turn() {
        let (coalescing, (woken, waker)) = (CoalescingWaker::default(), task());
        let mut rounds = 0;
        let _ = coalescing.poll_inside(&mut Context::from_waker(&waker), |cx| {
            rounds += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!((rounds, woken.0.load(SeqCst)), (ROUNDS, 1));
    }
}
