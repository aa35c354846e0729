//! Which backend gets the next request or connection. Decides; does no I/O.

mod least_conn;
mod p2c;
mod place;
mod rendezvous;
#[cfg(test)]
mod tests;
mod wrr;

use std::{net::IpAddr, sync::Arc};

pub use self::place::{Place, Target, Wish};
use self::{p2c::Wheel, place::Places, wrr::Turns};
use crate::{
    fleet::{Backend, RunningService},
    load::{Load, LoadSlot},
    service::Strategy,
    settings::Geography,
};

/// What a choice among one service's backends needs and does not change with load.
pub struct Balancer {
    service: Arc<RunningService>,
    wheel: Wheel,
    /// Empty unless the strategy is `wrr`.
    turns: Turns,
    places: Places,
}

/// Why no backend can take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("no backend is up")]
    Down,
    #[error("every backend is at its hard limit")]
    Full,
    #[error("no backend that is up is where the request must go")]
    Elsewhere,
}

/// What a pick depends on besides the service.
pub struct Ask<'a> {
    pub load: &'a Load,
    pub client: IpAddr,
    /// Backends that failed this very request, by index.
    pub tried: &'a [usize],
    pub wish: &'a Wish,
    /// Slots to which nothing is added by going there: limits keep nobody out.
    pub is_free: &'a dyn Fn(LoadSlot) -> bool,
}

impl Balancer {
    #[must_use]
    pub fn new(service: Arc<RunningService>, geography: Arc<Geography>) -> Self {
        let weights: Vec<_> = service.backends.iter().map(|it| it.server.weight).collect();
        let takes_turns = service.service.pool.strategy == Strategy::Wrr;
        Self {
            wheel: Wheel::new(weights.iter().copied()),
            turns: Turns::new(if takes_turns { &weights } else { &[] }),
            places: Places::new(&service.backends, geography),
            service,
        }
    }

    #[must_use]
    pub fn service(&self) -> &Arc<RunningService> {
        &self.service
    }

    /// Whether what a request wishes makes a difference.
    #[must_use]
    pub fn heeds_wishes(&self) -> bool {
        self.places.are_named()
    }

    /// The index of the backend to use: one that is wished for, else one in the nearest region that
    /// has room; there among those under the soft limit if there are any, else among those under
    /// the hard one.
    ///
    /// `maglev` stands in the proxy for the same promise as in the kernel, a client address stays
    /// with its backend while others come and go; it is kept by rendezvous hashing, which needs no
    /// table.
    ///
    /// # Errors
    /// [`Unavailable`] when no untried backend is up, or all of those are full.
    pub fn pick(&self, ask: &Ask<'_>, rng: &mut fastrand::Rng) -> Result<usize, Unavailable> {
        let limits = &self.service.service.concurrency;
        let hard = limits.hard_limit.map_or(u64::MAX, u64::from);
        let soft = u64::from(limits.soft_limit).min(hard);
        if let Target::Prefer(place) | Target::Only(place) = &ask.wish.target {
            let is_there = |index: usize| place.is(self.backend(index));
            let found = self.pick_under(hard, ask, &is_there, rng);
            if found.is_some() || matches!(ask.wish.target, Target::Only(_)) {
                return found.ok_or_else(|| self.why(ask, is_there));
            }
        }
        let mut pick = |fits: &dyn Fn(usize) -> bool| {
            let under_soft = self.pick_under(soft, ask, fits, rng);
            under_soft.or_else(|| self.pick_under(hard, ask, fits, rng))
        };
        if self.places.are_equal(ask.wish) {
            return pick(&|_| true).ok_or_else(|| self.why(ask, |_| true));
        }
        let rank = |index: usize| self.places.rank(index, self.backend(index), ask.wish);
        let levels = self.places.levels(&self.service.backends, ask.wish);
        let mut found = levels.iter().filter_map(|&near| pick(&|index| rank(index) == Some(near)));
        found.next().ok_or_else(|| self.why(ask, |index| rank(index).is_some()))
    }

    fn pick_under(
        &self,
        limit: u64,
        ask: &Ask<'_>,
        is_right: &dyn Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let load = |index: usize| ask.load.count(self.backend(index).slot);
        let has_room =
            |index: usize| load(index) < limit || (ask.is_free)(self.backend(index).slot);
        let fits =
            |index: usize| self.is_candidate(index, ask) && is_right(index) && has_room(index);
        match self.service.service.pool.strategy {
            Strategy::P2c => p2c::pick(&self.wheel, fits, load, rng),
            Strategy::Random => self.wheel.draw(fits, rng),
            Strategy::Wrr => self.turns.pick(fits, self.service.backends.len()),
            Strategy::LeastConn => {
                let backends = &self.service.backends;
                let fitting = (0..backends.len()).filter(|&index| fits(index));
                least_conn::pick(|index| backends[index].server.weight, fitting, load, rng)
            }
            Strategy::Maglev => rendezvous::pick(&self.service.backends, fits, ask.client),
        }
    }

    fn candidates(&self, ask: &Ask<'_>) -> impl Iterator<Item = usize> {
        (0..self.service.backends.len()).filter(|&index| self.is_candidate(index, ask))
    }

    fn is_candidate(&self, index: usize, ask: &Ask<'_>) -> bool {
        let backend = self.backend(index);
        backend.is_open()
            && !ask.tried.contains(&index)
            && ask.wish.without != Some(backend.server.address)
    }

    fn why(&self, ask: &Ask<'_>, is_right: impl Fn(usize) -> bool) -> Unavailable {
        let mut candidates = self.candidates(ask).peekable();
        if candidates.peek().is_none() {
            Unavailable::Down
        } else if candidates.any(is_right) {
            Unavailable::Full
        } else {
            Unavailable::Elsewhere
        }
    }

    fn backend(&self, index: usize) -> &Backend {
        &self.service.backends[index]
    }
}
