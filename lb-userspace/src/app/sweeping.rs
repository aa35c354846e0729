//! Has the flow table swept, again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task, time};
use tracing::{debug, error, warn};

use crate::datapath::{Sweeper, clock};

/// Between sweeps. Flow timeouts are seconds, so they are kept to the second.
const PAUSE: Duration = Duration::from_secs(1);
/// The share of one core that sweeping may take, as its inverse: a large table is swept less often.
const REST: u32 = 20;

/// Sweeps until dropped; `live` always holds the number of live flows that the last sweep saw.
pub(super) async fn sweep(mut sweeper: Sweeper, live: Arc<AtomicU64>) {
    loop {
        let began = Instant::now();
        let swept = task::spawn_blocking(move || {
            let outcome = sweeper.sweep(clock::now());
            (sweeper, outcome)
        });
        let outcome;
        (sweeper, outcome) = match swept.await {
            Ok(swept) => swept,
            Err(panic) => return error!(%panic, "flows are no longer swept"),
        };
        match outcome {
            Ok(sweep) => {
                live.store(sweep.live, Ordering::Relaxed);
                debug!(
                    live = sweep.live,
                    closed = sweep.closed,
                    expired = sweep.expired,
                    orphans = sweep.orphans,
                    corrected = sweep.corrected,
                    "swept the flow table"
                );
            }
            Err(error) => warn!(%error, "a sweep of the flow table failed"),
        }
        time::sleep(PAUSE.max(began.elapsed() * REST)).await;
    }
}
