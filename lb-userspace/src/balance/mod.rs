//! Which backend gets the next request or connection. Decides; does no I/O.

mod least_conn;
mod p2c;
mod rendezvous;
#[cfg(test)]
mod tests;
mod wrr;

use std::{net::IpAddr, sync::Arc};

use self::{p2c::Wheel, wrr::Turns};
use crate::{
    fleet::{Backend, RunningService},
    load::Load,
    service::Strategy,
};

/// What a choice among one service's backends needs and does not change with load.
pub struct Balancer {
    service: Arc<RunningService>,
    wheel: Wheel,
    /// Empty unless the strategy is `wrr`.
    turns: Turns,
}

/// Why no backend can take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("no backend is up")]
    Down,
    #[error("every backend is at its hard limit")]
    Full,
}

/// What a pick depends on besides the service.
pub struct Ask<'a> {
    pub load: &'a Load,
    pub client: IpAddr,
    /// Backends that failed this very request, by index.
    pub tried: &'a [usize],
}

impl Balancer {
    #[must_use]
    pub fn new(service: Arc<RunningService>) -> Self {
        let weights: Vec<_> = service.backends.iter().map(|it| it.server.weight).collect();
        let takes_turns = service.service.pool.strategy == Strategy::Wrr;
        Self {
            wheel: Wheel::new(weights.iter().copied()),
            turns: Turns::new(if takes_turns { &weights } else { &[] }),
            service,
        }
    }

    #[must_use]
    pub fn service(&self) -> &Arc<RunningService> {
        &self.service
    }

    /// The index of the backend to use: among those under the soft limit if there are any, else
    /// among those under the hard one.
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
        self.pick_under(soft, ask, rng)
            .or_else(|| self.pick_under(hard, ask, rng))
            .ok_or_else(|| self.why(ask))
    }

    fn pick_under(&self, limit: u64, ask: &Ask<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        let load = |index: usize| ask.load.count(self.backend(index).slot);
        let fits = |index: usize| self.is_candidate(index, ask) && load(index) < limit;
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

    fn is_candidate(&self, index: usize, ask: &Ask<'_>) -> bool {
        self.backend(index).is_open() && !ask.tried.contains(&index)
    }

    fn why(&self, ask: &Ask<'_>) -> Unavailable {
        let mut indices = 0..self.service.backends.len();
        if indices.any(|index| self.is_candidate(index, ask)) {
            Unavailable::Full
        } else {
            Unavailable::Down
        }
    }

    fn backend(&self, index: usize) -> &Backend {
        &self.service.backends[index]
    }
}
