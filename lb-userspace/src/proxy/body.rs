//! Bodies on their way through, frame by frame and unboxed.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{
    answer::Fault,
    lease::Lease,
    watch::{Active, Watch},
};

/// A request's body on its way to the backend.
pub(super) struct RequestBody {
    /// `None`: there is none.
    part: Option<(Incoming, Rc<Progress>)>,
    /// Bytes that may still come.
    allowed: u64,
}

/// Why a request's body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Client(#[from] hyper::Error),
    #[error("the body is larger than is allowed")]
    TooLarge,
}

/// How far a request's body has come. Shared with the request that waits for it.
pub(super) struct Progress {
    stage: Cell<Stage>,
    moved: Cell<Instant>,
    watch: Rc<Watch>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// The backend has not asked for more.
    Offered,
    /// The client owes the next part.
    Awaited,
    Done,
    Broken(Fault),
}

impl Progress {
    pub fn is_done(&self) -> bool {
        self.stage.get() == Stage::Done
    }

    /// Why it broke off.
    pub fn fault(&self) -> Option<Fault> {
        match self.stage.get() {
            Stage::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    pub fn waits_for_client(&self) -> bool {
        self.stage.get() == Stage::Awaited
    }

    /// When the last part came.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        if stage == Stage::Done {
            self.watch.body_done();
        }
        if stage != Stage::Awaited {
            self.moved.set(Instant::now());
        }
    }
}

impl RequestBody {
    /// At most `allowed` bytes from the client that `watch` is about.
    pub fn new(incoming: Incoming, watch: &Rc<Watch>, allowed: u64) -> Self {
        let part = (!incoming.is_end_stream()).then(|| {
            let progress = Progress {
                stage: Cell::new(Stage::Offered),
                moved: Cell::new(Instant::now()),
                watch: watch.clone(),
            };
            (incoming, Rc::new(progress))
        });
        Self { part, allowed }
    }

    pub fn empty() -> Self {
        Self { part: None, allowed: 0 }
    }

    /// Whether it is known already to be larger than allowed.
    pub fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.allowed
    }

    fn allow(&mut self, frame: &Frame<Bytes>) -> Result<(), Broken> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.allowed = self.allowed.checked_sub(length).ok_or(Broken::TooLarge)?;
        Ok(())
    }

    /// `None` where there is no body.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        self.part.as_ref().map(|(_, progress)| progress.clone())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some((incoming, _)) = &mut self.part else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        let polled = polled.map(|frame| {
            let frame = frame?.map_err(Broken::from);
            Some(frame.and_then(|frame| self.allow(&frame).map(|()| frame)))
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
        part.is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let part = self.part.as_ref();
        part.map_or(SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }
}

/// A response's body on its way to the client.
pub(super) struct ResponseBody {
    source: Source,
    /// The client's request is being answered until this is dropped.
    active: Active,
}

enum Source {
    Own(Bytes),
    Backend(Incoming, Option<Lease>),
}

impl ResponseBody {
    pub fn own(text: Bytes, active: Active) -> Self {
        Self { source: Source::Own(text), active }
    }

    /// Streams `incoming`, which arrives over `lease`. A body that is complete gives it back now.
    pub fn backend(incoming: Incoming, mut lease: Lease, active: Active) -> Self {
        let lease = if incoming.is_end_stream() {
            lease.give_back();
            None
        } else {
            Some(lease)
        };
        Self { source: Source::Backend(incoming, lease), active }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let (incoming, lease) = match &mut this.source {
            Source::Own(text) if text.is_empty() => return Poll::Ready(None),
            Source::Own(text) => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text)))));
            }
            Source::Backend(incoming, lease) => (incoming, lease),
        };
        let polled = match lease {
            Some(lease) => lease.poll_with(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)),
            None => Pin::new(&mut *incoming).poll_frame(cx),
        };
        if let Some(pace) = &this.active.pace {
            pace.polled(polled.is_ready());
        }
        let frame = ready!(polled);
        match &frame {
            Some(Err(error)) => {
                tracing::debug!(%error, "response from backend broke off");
                if let Some(lease) = lease.take() {
                    lease.fail();
                }
            }
            Some(Ok(_)) if !incoming.is_end_stream() => {}
            Some(Ok(_)) | None => {
                if let Some(mut lease) = lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(text) => text.is_empty(),
            Source::Backend(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.len() as u64),
            Source::Backend(incoming, _) => incoming.size_hint(),
        }
    }
}
