//! What was read of a request's body, kept so that it can be sent again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use hyper::{
    HeaderMap,
    body::{Body as _, Bytes, Frame, Incoming, SizeHint},
};
use tokio::sync::Notify;

use super::activity::Activity;

/// What is smaller is copied together: by itself it would hold all that was read along with it.
const SMALL: usize = 4 * 1024;
/// All requests of a connection keep so many times what one may.
const TOGETHER: u64 = 4;

/// A part of a body.
#[derive(Clone)]
pub(crate) enum BodyPart {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl BodyPart {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<BodyPart> for Frame<Bytes> {
    fn from(part: BodyPart) -> Self {
        match part {
            BodyPart::Data(data) => Self::data(data),
            BodyPart::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// What was kept of a body that is sent again, and then what is still to come of it.
pub(crate) struct BodySource {
    pub kept: VecDeque<BodyPart>,
    pub rest: Incoming,
}

impl BodySource {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match self.kept.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(part.into()))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.kept.is_empty() && self.rest.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let kept: u64 = self.kept.iter().map(BodyPart::length).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

/// Runs beside a body as long as that is short enough, and takes back what of it was not read.
pub(crate) struct ReplayBuffer {
    parts: RefCell<VecDeque<BodyPart>>,
    /// Small parts that came last.
    small: RefCell<Vec<u8>>,
    /// Bytes that may still be kept. `None`: too many came, or nobody will ask any more.
    room: Cell<Option<u64>>,
    limit: u64,
    /// The client's connection, and bytes that are kept of what came over it.
    activity: Rc<Activity>,
    held: Cell<u64>,
    /// What was not read, and how much more was allowed.
    rest: RefCell<Option<(BodySource, u64)>>,
    /// It is given back, or will be of no use.
    settled: Notify,
}

impl ReplayBuffer {
    /// For at most `limit` bytes from the client that `activity` is about.
    pub(crate) fn new(limit: u64, activity: &Rc<Activity>) -> Rc<Self> {
        Rc::new(Self {
            parts: RefCell::default(),
            small: RefCell::default(),
            room: Cell::new(Some(limit)),
            limit,
            activity: activity.clone(),
            held: Cell::new(0),
            rest: RefCell::default(),
            settled: Notify::new(),
        })
    }

    pub(crate) fn record(&self, frame: &Frame<Bytes>) {
        let Some(room) = self.room.get() else {
            return;
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let together = self.activity.buffered.get() + length;
        match room.checked_sub(length) {
            Some(left) if together <= TOGETHER.saturating_mul(self.limit) => {
                self.room.set(Some(left));
                self.activity.buffered.set(together);
                self.held.set(self.held.get() + length);
            }
            _ => return self.stop(),
        }
        if let Some(data) = frame.data_ref().filter(|data| data.len() < SMALL) {
            return self.small.borrow_mut().extend_from_slice(data);
        }
        self.join_small();
        let trailers = || frame.trailers_ref().cloned().map(BodyPart::Trailers);
        let part = frame.data_ref().cloned().map(BodyPart::Data).or_else(trailers);
        self.parts.borrow_mut().extend(part);
    }

    fn join_small(&self) {
        let small = self.small.take();
        if !small.is_empty() {
            self.parts.borrow_mut().push_back(BodyPart::Data(small.into()));
        }
    }

    /// What it had is not its own any more.
    fn detach_interface(&self) {
        self.activity.buffered.set(self.activity.buffered.get() - self.held.take());
    }

    /// Forgets what it has.
    pub(crate) fn stop(&self) {
        self.room.set(None);
        self.parts.take();
        self.small.take();
        self.detach_interface();
        self.settled.notify_one();
    }

    /// The body is given up. `rest` of it was not read, `allowed` bytes more might have come.
    pub(crate) fn give_back(&self, rest: BodySource, allowed: u64) {
        *self.rest.borrow_mut() = Some((rest, allowed));
        self.settled.notify_one();
    }

    /// All of the body, when it has been given up: what was read and what was not, and how much may
    /// come of it. `None`: not all of it is there.
    pub(crate) async fn rewind(&self) -> Option<(BodySource, u64)> {
        loop {
            let room = self.room.get()?;
            let Some((mut rest, allowed)) = self.rest.take() else {
                self.settled.notified().await;
                continue;
            };
            self.join_small();
            self.detach_interface();
            let mut kept = self.parts.take();
            let read: u64 = kept.iter().map(BodyPart::length).sum();
            self.room.set(Some(room + read));
            kept.append(&mut rest.kept);
            return Some((BodySource { kept, ..rest }, allowed.saturating_add(read)));
        }
    }
}

impl Drop for ReplayBuffer {
    fn drop(&mut self) {
        self.detach_interface();
    }
}
