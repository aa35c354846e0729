//! Answers that are held back until they are released, and how many there are.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::watch;

/// What one server's answers depend on.
pub(crate) struct Gate {
    held: Arc<AtomicUsize>,
    /// How often all that was held has been released.
    released: watch::Sender<u64>,
    /// What `/healthz` answers.
    pub health: AtomicU16,
    /// What requests of no special kind wait for their answer, ms.
    pub slowness: AtomicU64,
}

/// One that is held back; counted until it is dropped.
pub(crate) struct Held {
    count: Arc<AtomicUsize>,
    released: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            held: Arc::default(),
            released: watch::Sender::new(0),
            health: AtomicU16::new(200),
            slowness: AtomicU64::new(0),
        }
    }

    pub(crate) fn hold(&self) -> Held {
        let count = self.held.clone();
        count.fetch_add(1, Ordering::SeqCst);
        let mut released = self.released.subscribe();
        let now = *released.borrow();
        let released = Box::pin(async move {
            let _ = released.wait_for(|&times| times > now).await;
        });
        Held { count, released }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }
}

impl Held {
    pub(crate) async fn released(&mut self) {
        (&mut self.released).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body that says the server's name at once, and the rest when it is released.
pub(crate) struct HeldBody {
    name: Option<Bytes>,
    held: Option<Held>,
}

impl HeldBody {
    pub(crate) fn new(name: &str, held: Held) -> Self {
        Self { name: Some(format!("{name}\n").into()), held: Some(held) }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some(name) = self.name.take() {
            return Poll::Ready(Some(Ok(Frame::data(name))));
        }
        let Some(held) = &mut self.held else {
            return Poll::Ready(None);
        };
        std::task::ready!(held.released.as_mut().poll(cx));
        self.held = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"released\n")))))
    }
}
