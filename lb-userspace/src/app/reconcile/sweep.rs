//! Sweeps the flow table periodically.

use std::time::{Duration, Instant};

use tokio::{sync::watch, task, time};
use tracing::{debug, error};

use crate::{
    control::Index,
    datapath::{ClientSample, Population, ReferencedIds, ServerAnswers, Sweep, Sweeper, clock},
    load::LoadSlot,
    service::Protocol,
};

/// Between sweeps. Flow timeouts are seconds, so they are kept to the second.
const PAUSE: Duration = Duration::from_secs(1);
/// The inverse of the share of one core that sweeping may take: a large table is swept less often.
const REST: u32 = 50;

/// What the last sweep saw.
#[derive(Default)]
pub(crate) struct SweepSummary {
    pub(crate) population: Population,
    referenced_ids: ReferencedIds,
    pub(crate) sample: ClientSample,
    /// By load slot.
    answers: Vec<ServerAnswers>,
    ports: Vec<[u64; 2]>,
    /// `None` before the first sweep.
    began: Option<Instant>,
}

impl SweepSummary {
    /// Returns what the server of a load slot has answered.
    pub(crate) fn answers(&self, slot: LoadSlot) -> ServerAnswers {
        self.answers.get(slot.0 as usize).copied().unwrap_or_default()
    }

    /// Returns how many source ports flows of a protocol had towards the server of a load slot.
    pub(crate) fn ports(&self, slot: LoadSlot, protocol: Protocol) -> u64 {
        let ports = self.ports.get(slot.0 as usize);
        ports.map_or(0, |ports| ports[usize::from(protocol == Protocol::Udp)])
    }

    /// Returns whether flows may still refer to `index`, provided that no packet which would open a
    /// flow with it was under way after `since`.
    pub(crate) fn may_name(&self, index: Index, since: Instant) -> bool {
        let is_new = self.began.is_some_and(|began| began > since);
        !is_new
            || match index {
                Index::Service(id) => self.referenced_ids.has_service(id),
                Index::Backend(id) => self.referenced_ids.has_backend(id),
            }
    }
}

/// Sweeps until dropped, while `sweeping` says so; `swept` always has the result of the last sweep.
pub(crate) async fn sweep(
    mut sweeper: Sweeper,
    swept: watch::Sender<SweepSummary>,
    mut sweeping: watch::Receiver<bool>,
) {
    loop {
        // Another process may sweep now.
        if sweeping.wait_for(|sweeping| *sweeping).await.is_err() {
            return;
        }
        let began = Instant::now();
        let done = task::spawn_blocking(move || {
            let sweep = sweeper.sweep(clock::now());
            (sweeper, sweep)
        });
        let sweep;
        (sweeper, sweep) = match done.await {
            Ok(done) => done,
            Err(panic) => return error!(%panic, "flows are no longer swept"),
        };
        let took = began.elapsed();
        let Sweep {
            population,
            expired,
            orphans,
            corrected,
            flows,
            referenced_ids,
            sample,
            answers,
            ports,
            ..
        } = sweep;
        debug!(?population, expired, orphans, corrected, ?took, "swept the flow table");
        let began = Some(began);
        let last = swept.send_replace(SweepSummary {
            population,
            referenced_ids,
            sample,
            answers,
            ports,
            began,
        });
        sweeper.reuse(flows, last.answers, last.ports);
        time::sleep(pause_after(took)).await;
    }
}

/// Returns the pause after a sweep that took so long.
#[must_use]
pub fn pause_after(took: Duration) -> Duration {
    PAUSE.max(took * REST)
}
