//! What was read of a request's body, kept so that it can be sent again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use hyper::{
    HeaderMap,
    body::{Bytes, Frame},
};
use tokio::sync::Notify;

use super::body::Supply;

/// A part of a body.
#[derive(Clone)]
pub(super) enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Part {
    pub fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<Part> for Frame<Bytes> {
    fn from(part: Part) -> Self {
        match part {
            Part::Data(data) => Self::data(data),
            Part::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// Runs beside a body as long as that is short enough, and takes back what of it was not read.
pub(super) struct Tape {
    parts: RefCell<VecDeque<Part>>,
    /// Bytes that may still be kept. `None`: too many came, or nobody will ask any more.
    room: Cell<Option<u64>>,
    /// What was not read, and how much more was allowed.
    rest: RefCell<Option<(Supply, u64)>>,
    /// It is given back, or will be of no use.
    settled: Notify,
}

impl Tape {
    /// For at most `limit` bytes.
    pub fn new(limit: u64) -> Rc<Self> {
        Rc::new(Self {
            parts: RefCell::default(),
            room: Cell::new(Some(limit)),
            rest: RefCell::default(),
            settled: Notify::new(),
        })
    }

    pub fn record(&self, frame: &Frame<Bytes>) {
        let Some(room) = self.room.get() else {
            return;
        };
        let part = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Part::Data(data.clone()),
            (None, Some(trailers)) => Part::Trailers(trailers.clone()),
            (None, None) => return,
        };
        match room.checked_sub(part.length()) {
            Some(left) => {
                self.room.set(Some(left));
                self.parts.borrow_mut().push_back(part);
            }
            None => self.stop(),
        }
    }

    /// Forgets what it has.
    pub fn stop(&self) {
        self.room.set(None);
        self.parts.take();
        self.settled.notify_one();
    }

    /// The body is given up. `rest` of it was not read, `allowed` bytes more might have come.
    pub fn give_back(&self, rest: Supply, allowed: u64) {
        *self.rest.borrow_mut() = Some((rest, allowed));
        self.settled.notify_one();
    }

    /// All of the body, when it has been given up: what was read and what was not, and how much may
    /// come of it. `None`: not all of it is there.
    pub async fn rewind(&self) -> Option<(Supply, u64)> {
        loop {
            let room = self.room.get()?;
            let Some((mut rest, allowed)) = self.rest.take() else {
                self.settled.notified().await;
                continue;
            };
            let mut kept = self.parts.take();
            let read: u64 = kept.iter().map(Part::length).sum();
            self.room.set(Some(room + read));
            kept.append(&mut rest.kept);
            return Some((Supply { kept, ..rest }, allowed.saturating_add(read)));
        }
    }
}
