//! A request's body on its way to the backend, frame by frame and unboxed.

use std::{
    any::Any,
    cell::Cell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{
    activity::Activity,
    interim::{ContinueSignal, ContinueWait},
    replay_buffer::{BodySource, ReplayBuffer},
};
use crate::proxy::http::fault::Fault;

/// A request's body on its way to the backend.
pub(crate) struct RequestBody {
    /// `None`: there is none.
    part: Option<(BodySource, Rc<BodyProgress>)>,
    /// Bytes that may still come.
    allowed: u64,
    /// Runs beside it while it may have to be sent again.
    buffer: Option<Rc<ReplayBuffer>>,
    /// The backend has not said that it wants it.
    hold: Option<Box<ContinueWait>>,
}

/// Why a request's body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error("the body is larger than is allowed")]
    TooLarge,
}

/// How far a request's body has come. Shared with the request that waits for it.
pub(crate) struct BodyProgress {
    stage: Cell<Stage>,
    moved: Cell<Instant>,
    /// Between two parts.
    allowed: Duration,
    activity: Rc<Activity>,
    /// By HTTP/2: what it is sent over.
    stream: Cell<Option<Rc<dyn Any>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The backend has not said that it wants it.
    Held,
    /// It has answered without. The client is never asked for it.
    Unwanted,
    /// The backend has not asked for more.
    Offered,
    /// The client owes the next part.
    Awaited,
    Done,
    Broken(Fault),
}

impl BodyProgress {
    fn new(activity: &Rc<Activity>) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Offered),
            moved: Cell::new(Instant::now()),
            allowed: activity.idle(),
            activity: activity.clone(),
            stream: Cell::new(None),
        })
    }

    /// Keeps `stream` counted as long as the body is under way.
    pub(crate) fn hold(&self, stream: Rc<dyn Any>) {
        self.stream.set(Some(stream));
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stage.get() == Stage::Done
    }

    /// Why it broke off.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.stage.get() {
            Stage::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    pub(crate) fn waits_for_client(&self) -> bool {
        self.stage.get() == Stage::Awaited
    }

    /// Whether the backend has taken nothing of it for `long`.
    pub(crate) fn is_stalled(&self, long: Duration) -> bool {
        self.stage.get() == Stage::Offered && self.moved.get().elapsed() >= long
    }

    /// The response has come, perhaps instead of the word for which the body waits. A backend that
    /// agrees is one that reads on while it answers; where it does not, there will be no body.
    pub(crate) fn is_unwanted(&self, agrees: bool) -> bool {
        if self.stage.get() == Stage::Held {
            self.stage.set(if agrees { Stage::Offered } else { Stage::Unwanted });
        }
        self.stage.get() == Stage::Unwanted
    }

    /// Until when the next part is to come.
    pub(crate) fn deadline(&self) -> Instant {
        self.moved.get() + self.allowed
    }

    /// When the last part came.
    pub(crate) fn moved(&self) -> Instant {
        self.moved.get()
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        if stage == Stage::Done {
            self.stream.take();
            self.activity.body_done();
        }
        if stage != Stage::Awaited {
            self.moved.set(Instant::now());
        }
    }
}

impl RequestBody {
    /// At most `allowed` bytes from the client that `activity` is about.
    pub(crate) fn new(incoming: Incoming, activity: &Rc<Activity>, allowed: u64) -> Self {
        let supply = BodySource { kept: VecDeque::new(), rest: incoming };
        let part = (!supply.is_at_end()).then(|| (supply, BodyProgress::new(activity)));
        Self { part, allowed, buffer: None, hold: None }
    }

    pub(crate) fn empty() -> Self {
        Self { part: None, allowed: 0, buffer: None, hold: None }
    }

    /// Waits until the backend wants it: the word for that. `None`: there is nothing to wait with.
    pub(crate) fn hold(&mut self) -> Option<Arc<ContinueSignal>> {
        let (_, progress) = self.part.as_ref()?;
        progress.stage.set(Stage::Held);
        Some(self.hold.insert(Box::default()).word())
    }

    pub(crate) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether it is known already to be larger than allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.allowed
    }

    /// Keeps what is read from here on, up to `limit` bytes. `None`: it is known to be more.
    pub(crate) fn buffered(&mut self, limit: u64) -> Option<Rc<ReplayBuffer>> {
        if self.size_hint().lower() > limit {
            return None;
        }
        let (_, progress) = self.part.as_ref()?;
        self.buffer = Some(ReplayBuffer::new(limit, &progress.activity));
        self.buffer.clone()
    }

    /// The same body again, kept by the same buffer, when it is given up. `progress` goes on with
    /// it: whoever waits for the body sees no other. `None`: it was not kept whole.
    pub(crate) async fn rewound(
        buffer: &Rc<ReplayBuffer>,
        progress: &Rc<BodyProgress>,
    ) -> Option<Self> {
        let (supply, allowed) = buffer.rewind().await?;
        progress.enter(Stage::Offered);
        let part = Some((supply, progress.clone()));
        Some(Self { part, allowed, buffer: Some(buffer.clone()), hold: None })
    }

    fn take(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broken> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.allowed = self.allowed.checked_sub(length).ok_or(Broken::TooLarge)?;
        if let (Some(trailers), Some((_, progress))) = (frame.trailers_mut(), &self.part) {
            progress.activity.names.check_trailers(trailers);
        }
        if let Some(buffer) = &self.buffer {
            buffer.record(&frame);
        }
        Ok(frame)
    }

    /// `None` where there is no body.
    pub(crate) fn progress(&self) -> Option<Rc<BodyProgress>> {
        self.part.as_ref().map(|(_, progress)| progress.clone())
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some((supply, progress)) = self.part.take() else { return };
        // Nothing more is sent over it.
        progress.stream.take();
        if let Some(buffer) = self.buffer.take() {
            buffer.give_back(supply, self.allowed);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let Some((supply, progress)) = &mut this.part else {
            return Poll::Ready(None);
        };
        if let Some(hold) = &mut this.hold {
            match progress.stage.get() {
                Stage::Unwanted => return Poll::Pending,
                Stage::Held => ready!(hold.poll(cx)),
                _ => {}
            }
            this.hold = None;
        }
        let polled = supply.poll(cx).map(|frame| {
            let frame = frame?.map_err(Broken::from);
            Some(frame.and_then(|frame| self.take(frame)))
        });
        let stage = match &polled {
            Poll::Pending => Stage::Awaited,
            Poll::Ready(Some(Ok(_))) if !self.is_end_stream() => Stage::Offered,
            Poll::Ready(Some(Err(Broken::TooLarge))) => Stage::Broken(Fault::BodyTooLarge),
            Poll::Ready(Some(Err(Broken::Client(_)))) => Stage::Broken(Fault::BadBody),
            Poll::Ready(Some(Ok(_)) | None) => Stage::Done,
        };
        if let Some((_, progress)) = &self.part {
            progress.enter(stage);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let part = self.part.as_ref();
        part.is_none_or(|(supply, _)| supply.is_at_end())
    }

    fn size_hint(&self) -> SizeHint {
        let part = self.part.as_ref();
        part.map_or(SizeHint::with_exact(0), |(supply, _)| supply.size_hint())
    }
}
