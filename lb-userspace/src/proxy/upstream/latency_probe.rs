//! How long backends take, for services that go by it. The others pay nothing.

use std::sync::LazyLock;

use tokio::time::Instant;

use crate::proxy::{
    downstream::request_body::BodyProgress, http::fault::Fault, routing::routes::Site,
};
use crate::{fleet::Backend, load::Tick};

/// From when on ticks count.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When a backend was asked. `None`: nobody wants to know.
pub(crate) struct LatencyProbe(Option<Instant>);

impl LatencyProbe {
    pub(crate) fn start(site: &Site) -> Self {
        Self(site.balancer.uses_latency().then(Instant::now))
    }

    /// When that was, for the choice.
    pub(crate) fn tick(&self) -> Tick {
        self.0.map_or(Tick::default(), tick)
    }

    /// The backend began to answer. The time that the client took for the request's body does not
    /// count, and of a body that is still under way nobody knows whom it waits for.
    pub(crate) fn answered(&self, backend: &Backend, status: u16, progress: Option<&BodyProgress>) {
        let Some(asked) = self.0 else { return };
        let Some(asked) =
            progress.map_or(Some(asked), |it| it.is_done().then(|| it.moved().max(asked)))
        else {
            return;
        };
        let now = Instant::now();
        if status < 500 {
            backend.state.latency.observe(tick(now), micros(asked, now));
        } else {
            backend.state.latency.observe_failure(tick(now), micros(asked, now));
        }
    }

    /// It took the connection.
    pub(crate) fn connected(&self, backend: &Backend) {
        self.answered(backend, 0, None);
    }

    /// It did not answer, if that was neither the client's fault nor a lack of ours.
    pub(crate) fn failed(&self, backend: &Backend, fault: Fault) {
        if let Some(asked) = self.0
            && fault.is_ours()
            && fault != Fault::OutOfSockets
        {
            let now = Instant::now();
            backend.state.latency.observe_failure(tick(now), micros(asked, now));
        }
    }
}

fn tick(at: Instant) -> Tick {
    Tick(at.saturating_duration_since(*BEGINNING).as_millis() as u32)
}

fn micros(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u32::MAX)
}
