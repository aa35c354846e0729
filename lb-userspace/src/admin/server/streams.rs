//! Answers that have no end: they are few, and end when the process does not serve any more.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// At a time. They leave connections for others.
const STREAMS: usize = 16;

#[derive(Clone)]
pub(crate) struct Streams {
    room: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(STREAMS)), ended: watch::Sender::new(false) }
    }
}

impl Streams {
    /// `None`: there are too many already.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Ends `items` with all others.
    pub(super) fn bounded<T, S: Stream<Item = T> + Send>(
        &self,
        items: S,
        permit: OwnedSemaphorePermit,
    ) -> impl Stream<Item = T> + Send + use<T, S> {
        let mut ended = self.ended.subscribe();
        let end = async move { drop(ended.wait_for(|ended| *ended).await) };
        items.take_until(end).inspect(move |_| {
            let _held = &permit;
        })
    }

    /// Ends all of them.
    pub(in crate::admin) fn end(&self) {
        self.ended.send_replace(true);
    }
}
