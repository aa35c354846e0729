//! Has the flow table swept, again and again.

use std::time::{Duration, Instant};

use tokio::{sync::watch, task, time};
use tracing::{debug, error};

use crate::datapath::{Population, Sweep, Sweeper, clock};

/// Between sweeps. Flow timeouts are seconds, so they are kept to the second.
const PAUSE: Duration = Duration::from_secs(1);
/// The share of one core that sweeping may take, as its inverse: a large table is swept less often.
const REST: u32 = 20;

/// Sweeps until dropped; `population` always has what the last sweep saw.
pub(super) async fn sweep(mut sweeper: Sweeper, population: watch::Sender<Population>) {
    loop {
        let began = Instant::now();
        let swept = task::spawn_blocking(move || {
            let sweep = sweeper.sweep(clock::now());
            (sweeper, sweep)
        });
        let sweep;
        (sweeper, sweep) = match swept.await {
            Ok(swept) => swept,
            Err(panic) => return error!(%panic, "flows are no longer swept"),
        };
        population.send_replace(sweep.population);
        let took = began.elapsed();
        let Sweep { population, expired, orphans, corrected, .. } = sweep;
        debug!(?population, expired, orphans, corrected, ?took, "swept the flow table");
        time::sleep(PAUSE.max(took * REST)).await;
    }
}
