//! What happens, for those who follow it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// EventFeed that a slow client may be behind; after that it is told how many it missed.
const KEPT: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The configuration is another one.
    Changed {
        revision: u64,
        /// A user, or `file`.
        by: String,
        changes: Vec<String>,
    },
    /// A server passes its health check, or does not.
    Health {
        service: String,
        #[schema(value_type = String)]
        server: SocketAddr,
        up: bool,
    },
    /// So many were lost because the client was too slow.
    Missed { count: u64 },
}

/// Tells all who listen. Whoever tells does not wait.
#[derive(Clone, Debug)]
pub struct EventFeed(broadcast::Sender<Event>);

impl Default for EventFeed {
    fn default() -> Self {
        Self(broadcast::channel(KEPT).0)
    }
}

impl EventFeed {
    pub fn tell(&self, event: Event) {
        // Nobody need listen.
        let _ = self.0.send(event);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
