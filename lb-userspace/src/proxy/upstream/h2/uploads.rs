//! Whether an upload on a connection stands still.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use crate::proxy::downstream::request_body::BodyProgress;

/// One of which the server has taken nothing for so long has all of its stream's window, and
/// perhaps all of the connection's, without which others cannot go on.
const STALLED: Duration = Duration::from_millis(200);
/// Between looks at all of them.
const LOOK: Duration = Duration::from_millis(10);

/// Those that have a connection's streams.
pub(crate) struct Uploads {
    under_way: RefCell<Vec<Weak<BodyProgress>>>,
    /// When last looked at.
    are_stalled: Cell<bool>,
    looked: Cell<Instant>,
}

impl Default for Uploads {
    fn default() -> Self {
        let (are_stalled, looked) = (Cell::new(false), Cell::new(Instant::now()));
        Self { under_way: RefCell::default(), are_stalled, looked }
    }
}

impl Uploads {
    pub(crate) fn add(&self, upload: &Rc<BodyProgress>) {
        self.under_way.borrow_mut().push(Rc::downgrade(upload));
    }

    /// Whether one of them is.
    pub(crate) fn are_stalled(&self) -> bool {
        let now = Instant::now();
        if now - self.looked.get() >= LOOK {
            self.looked.set(now);
            self.are_stalled.set(false);
            self.under_way.borrow_mut().retain(|upload| {
                let upload = upload.upgrade().filter(|upload| !upload.is_done());
                if upload.as_ref().is_some_and(|upload| upload.is_stalled(STALLED)) {
                    self.are_stalled.set(true);
                }
                upload.is_some()
            });
        }
        self.are_stalled.get()
    }
}
