//! Picks the backend of the next request or connection. Pure decisions, no I/O. Imports `fleet`,
//! `load`, `service` and `settings`.

mod least_conn;
mod p2c;
mod peak_ewma;
mod place;
mod rendezvous;
#[cfg(test)]
mod tests;
mod wrr;

use std::{net::IpAddr, sync::Arc};

pub use self::place::{Location, Preference, Target};
use self::{p2c::WeightedSampler, place::Distances, wrr::WrrSchedule};
use crate::{
    fleet::{Backend, RunningService},
    load::{Load, LoadSlot, Tick},
    service::Strategy,
    settings::Geography,
};

/// The data for picks among one service's backends that does not change with load.
pub struct Balancer {
    service: Arc<RunningService>,
    sampler: WeightedSampler,
    /// Empty unless the strategy is `wrr`.
    schedule: WrrSchedule,
    distances: Distances,
}

/// Why no backend can be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("no backend is up")]
    Down,
    #[error("every backend is at its hard limit")]
    Full,
    #[error("no backend that is up is in the required place")]
    Elsewhere,
}

/// The inputs of a pick, beside the service.
pub struct PickRequest<'a> {
    pub load: &'a Load,
    pub client: IpAddr,
    /// Backends that failed this very request, by index.
    pub tried: &'a [usize],
    pub preference: &'a Preference,
    /// For strategies that use latency.
    pub now: Tick,
    /// Slots where the connection is counted already: limits exclude nobody.
    pub is_free: &'a dyn Fn(LoadSlot) -> bool,
}

impl Balancer {
    #[must_use]
    pub fn new(service: Arc<RunningService>, geography: Arc<Geography>) -> Self {
        let weights: Vec<_> = service.backends.iter().map(|it| it.server.weight).collect();
        let takes_turns = service.service.pool.strategy == Strategy::Wrr;
        Self {
            sampler: WeightedSampler::new(weights.iter().copied()),
            schedule: WrrSchedule::new(if takes_turns { &weights } else { &[] }),
            distances: Distances::new(&service.backends, geography),
            service,
        }
    }

    #[must_use]
    pub fn service(&self) -> &Arc<RunningService> {
        &self.service
    }

    /// Returns whether a request's preferences make a difference.
    #[must_use]
    pub fn uses_preferences(&self) -> bool {
        self.distances.are_named()
    }

    /// Returns whether the latency of backends makes a difference.
    #[must_use]
    pub fn uses_latency(&self) -> bool {
        self.service.service.pool.strategy == Strategy::PeakEwma
    }

    /// Returns the index of the backend to use: a preferred one, else one in the nearest region
    /// that has room; there one under the soft limit if possible, else one under the hard limit.
    ///
    /// In the proxy, `maglev` keeps the same promise as in the kernel: a client address keeps its
    /// backend while others come and go. It is implemented by rendezvous hashing, which needs no
    /// table.
    ///
    /// # Errors
    /// [`Unavailable`] if no untried backend is up, or all of those are full.
    pub fn pick(
        &self,
        request: &PickRequest<'_>,
        rng: &mut fastrand::Rng,
    ) -> Result<usize, Unavailable> {
        let limits = &self.service.service.concurrency;
        let hard = limits.hard_limit.map_or(u64::MAX, u64::from);
        let soft = u64::from(limits.soft_limit).min(hard);
        if let Target::Prefer(place) | Target::Only(place) = &request.preference.target {
            let is_at_location = |index: usize| place.is(self.backend(index));
            let found = self.pick_under(hard, request, &is_at_location, rng);
            if found.is_some() || matches!(request.preference.target, Target::Only(_)) {
                return found.ok_or_else(|| self.why(request, is_at_location));
            }
        }
        let mut pick = |fits: &dyn Fn(usize) -> bool| {
            let under_soft = self.pick_under(soft, request, fits, rng);
            under_soft.or_else(|| self.pick_under(hard, request, fits, rng))
        };
        if self.distances.are_equal(request.preference) {
            return pick(&|_| true).ok_or_else(|| self.why(request, |_| true));
        }
        let rank =
            |index: usize| self.distances.rank(index, self.backend(index), request.preference);
        let levels = self.distances.levels(&self.service.backends, request.preference);
        let mut found = levels.iter().filter_map(|&near| pick(&|index| rank(index) == Some(near)));
        found.next().ok_or_else(|| self.why(request, |index| rank(index).is_some()))
    }

    fn pick_under(
        &self,
        limit: u64,
        request: &PickRequest<'_>,
        is_eligible: &dyn Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let load = |index: usize| request.load.count(self.backend(index).slot);
        let has_room =
            |index: usize| load(index) < limit || (request.is_free)(self.backend(index).slot);
        let fits = |index: usize| {
            self.is_candidate(index, request) && is_eligible(index) && has_room(index)
        };
        match self.service.service.pool.strategy {
            Strategy::P2c => p2c::pick(&self.sampler, fits, load, rng),
            Strategy::PeakEwma => {
                let cost = |index: usize, share| {
                    peak_ewma::cost(
                        &self.backend(index).state.latency,
                        request.now,
                        load(index),
                        share,
                    )
                };
                peak_ewma::pick(&self.sampler, fits, cost, rng)
            }
            Strategy::Random => self.sampler.draw(fits, rng),
            Strategy::Wrr => self.schedule.pick(fits, self.service.backends.len()),
            Strategy::LeastConn => {
                let backends = &self.service.backends;
                let fitting = (0..backends.len()).filter(|&index| fits(index));
                least_conn::pick(|index| backends[index].server.weight, fitting, load, rng)
            }
            Strategy::Maglev => rendezvous::pick(&self.service.backends, fits, request.client),
        }
    }

    fn candidates(&self, request: &PickRequest<'_>) -> impl Iterator<Item = usize> {
        (0..self.service.backends.len()).filter(|&index| self.is_candidate(index, request))
    }

    fn is_candidate(&self, index: usize, request: &PickRequest<'_>) -> bool {
        let backend = self.backend(index);
        backend.is_open()
            && !request.tried.contains(&index)
            && request.preference.excluded != Some(backend.server.address)
    }

    fn why(&self, request: &PickRequest<'_>, is_eligible: impl Fn(usize) -> bool) -> Unavailable {
        let mut candidates = self.candidates(request).peekable();
        if candidates.peek().is_none() {
            Unavailable::Down
        } else if candidates.any(is_eligible) {
            Unavailable::Full
        } else {
            Unavailable::Elsewhere
        }
    }

    fn backend(&self, index: usize) -> &Backend {
        &self.service.backends[index]
    }
}
