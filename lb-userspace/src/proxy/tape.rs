//! What was read of a request's body, kept so that it can be sent again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use hyper::{
    HeaderMap,
    body::{Bytes, Frame, Incoming},
};

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
    rest: RefCell<Option<(VecDeque<Part>, Incoming)>>,
}

impl Tape {
    /// For at most `limit` bytes.
    pub fn new(limit: u64) -> Rc<Self> {
        Rc::new(Self {
            parts: RefCell::default(),
            room: Cell::new(Some(limit)),
            rest: RefCell::default(),
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
    }

    /// The body is given up. What was not read of it: what had been kept earlier, and what is
    /// still to come.
    pub fn give_back(&self, kept: VecDeque<Part>, rest: Incoming) {
        *self.rest.borrow_mut() = Some((kept, rest));
    }

    /// All of the body: what was read, and what was not. `None`: not all of it is there.
    pub fn rewind(&self) -> Option<(VecDeque<Part>, Incoming)> {
        let room = self.room.get()?;
        let (mut kept, rest) = self.rest.take()?;
        let mut parts = self.parts.take();
        self.room.set(Some(room + parts.iter().map(Part::length).sum::<u64>()));
        parts.append(&mut kept);
        Some((parts, rest))
    }
}
