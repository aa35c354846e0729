//! Servers that drain: by configuration, or by a request of the operator.

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tracing::info;

use crate::app::state::store::{DrainRecord, PoolMember};
use crate::{
    admin::DrainRequest,
    control::{Departure, LeavingServer},
    fleet::{Backend, Fleet, RunningService},
};

/// Which servers drain until when. Those without a deadline drain until they are empty.
#[derive(Default)]
pub(crate) struct Drains {
    deadlines: Vec<Deadline>,
    /// All servers that drain.
    noted: BTreeMap<PoolMember, DrainRecord>,
    /// Servers that left the configuration and have flows.
    left: BTreeMap<PoolMember, DrainRecord>,
}

struct Deadline {
    running: Arc<RunningService>,
    backend: Arc<Backend>,
    at: Instant,
}

/// A moment by both clocks: deadlines are awaited by the monotonic one and recorded by the wall
/// clock, which goes on while no daemon runs.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    fn unix_ms(self) -> u64 {
        let since = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// Returns when a period ends that began at `unix_ms`: no earlier than now, and no later than
    /// if it began now, since the wall clock may have been set.
    fn end_of(self, deadline: Duration, unix_ms: u64) -> Instant {
        let passed = Duration::from_millis(self.unix_ms().saturating_sub(unix_ms));
        self.instant + deadline.saturating_sub(passed)
    }
}

impl Drains {
    /// Resumes drains by configuration and by requests that an earlier daemon recorded. Their time
    /// has run on: a server past its deadline is expelled at once. Servers that the configuration
    /// no longer has may still have flows: see [`follow`](Self::follow).
    pub(crate) fn resume(fleet: &Fleet, noted: Vec<DrainRecord>, now: Moment) -> Self {
        let noted = noted.into_iter().map(|it| ((it.service.clone(), it.server), it));
        let mut before: BTreeMap<PoolMember, DrainRecord> = noted.collect();
        let mut draining = Self::default();
        for running in &fleet.services {
            for backend in &running.backends {
                let member = (running.service.name.to_string(), backend.server.address);
                let before = before.remove(&member);
                let drained = match (before, backend.is_draining()) {
                    // A request ends when its server leaves the configuration.
                    (Some(before), false) if before.left || !before.ordered => continue,
                    (Some(before), _) => DrainRecord {
                        ordered: before.ordered && !before.left,
                        left: false,
                        ..before
                    },
                    (_, true) => drained(&member, now),
                    (_, false) => continue,
                };
                if drained.ordered {
                    let (service, server) = (&running.service.name, backend.server.address);
                    info!(%service, %server, "continues to drain, as requested");
                }
                backend.set_draining(true);
                draining.set(running, backend, Some(drained), now);
            }
        }
        draining.left = before;
        draining.left.values_mut().for_each(|drained| drained.left = true);
        draining.expel(now.instant);
        draining
    }

    /// Follows the services of another configuration. Orders stand; a server that drained by its
    /// former configuration alone takes new connections again.
    pub(crate) fn renew(&mut self, fleet: &Fleet, now: Moment) {
        let mut before = mem::take(&mut self.noted);
        self.deadlines.clear();
        for running in &fleet.services {
            for backend in &running.backends {
                let member = (running.service.name.to_string(), backend.server.address);
                let before = before.remove(&member);
                let is_configured = !backend.server.is_offered();
                let drained = match before {
                    Some(before) if before.ordered || is_configured => Some(before),
                    None if is_configured => Some(drained(&member, now)),
                    _ => None,
                };
                if drained.is_none() {
                    backend.set_draining(false);
                    backend.set_expelled(false);
                }
                self.set(running, backend, drained, now);
            }
        }
        self.expel(now.instant);
    }

    /// Takes in which servers left the configuration and have flows now; returns whether that
    /// changed.
    pub(crate) fn follow(&mut self, leavers: &[LeavingServer], now: Moment) -> bool {
        let mut before = mem::take(&mut self.left);
        let mut changed = false;
        for LeavingServer { service, server, until, .. } in leavers {
            let member = (service.to_string(), *server);
            let drained = before.remove(&member).unwrap_or_else(|| {
                changed = true;
                let until = until.map(|at| at.saturating_duration_since(now.instant));
                info!(%service, %server, ?until, "left the configuration; its flows continue");
                DrainRecord { left: true, ..drained(&member, now) }
            });
            self.left.insert(member, drained);
        }
        for (service, server) in before.keys() {
            info!(service, %server, "left the configuration; its last flow has ended");
        }
        changed || !before.is_empty()
    }

    /// Returns the records for the next daemon.
    pub(crate) fn noted(&self) -> Vec<DrainRecord> {
        self.noted.values().chain(self.left.values()).cloned().collect()
    }

    /// Carries out a request of the operator.
    ///
    /// # Errors
    ///
    /// There is no such server, or its configuration decides. The text is for the operator.
    pub(crate) fn order(
        &mut self,
        fleet: &Fleet,
        order: &DrainRequest,
        now: Moment,
    ) -> Result<(), String> {
        let (running, backend) = find(fleet, &order.service, order.server)?;
        if order.undo && !backend.server.is_offered() {
            let (server, service) = (order.server, &order.service);
            return Err(format!(
                "{server} of service \"{service}\" drains by configuration: remove `drain`, or give it a weight"
            ));
        }
        backend.set_draining(!order.undo);
        backend.set_expelled(false);
        let member = (order.service.clone(), order.server);
        let drained =
            DrainRecord { ordered: true, deadline_ms: order.deadline_ms, ..drained(&member, now) };
        self.set(running, backend, (!order.undo).then_some(drained), now);
        running.touch();
        let (service, server) = (&running.service.name, order.server);
        match order.undo {
            true => info!(%service, %server, "no longer draining"),
            false => info!(%service, %server, deadline = ?order.deadline(), "draining"),
        }
        Ok(())
    }

    /// Expels servers that are past their deadline; returns whether there were any.
    pub(crate) fn expel(&mut self, now: Instant) -> bool {
        let before = self.deadlines.len();
        self.deadlines.retain(|deadline| {
            if deadline.at > now {
                return true;
            }
            deadline.backend.set_expelled(true);
            deadline.running.touch();
            let (service, server) =
                (&deadline.running.service.name, deadline.backend.server.address);
            info!(%service, %server, "expelled: it drained past its deadline");
            false
        });
        self.deadlines.len() < before
    }

    /// Returns when [`expel`](Self::expel) has something to do next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().map(|deadline| deadline.at).min()
    }

    fn set(
        &mut self,
        running: &Arc<RunningService>,
        backend: &Arc<Backend>,
        drained: Option<DrainRecord>,
        now: Moment,
    ) {
        self.deadlines.retain(|other| !Arc::ptr_eq(&other.backend, backend));
        self.noted.remove(&(running.service.name.to_string(), backend.server.address));
        backend.set_drain_deadline(None);
        let Some(drained) = drained else { return };
        let deadline = drained.deadline_ms.map(Duration::from_millis);
        let deadline = deadline.or(running.service.steering.drain_deadline);
        let at = deadline.map(|deadline| now.end_of(deadline, drained.since_ms));
        backend.set_drain_deadline(at);
        let (running, backend) = (running.clone(), backend.clone());
        self.deadlines.extend(at.map(|at| Deadline { running, backend, at }));
        self.noted.insert((drained.service.clone(), drained.server), drained);
    }
}

/// Returns when a server left the configuration, if it has. One that an earlier daemon recorded has
/// drained since then, any other from now on.
pub(crate) fn departure(
    noted: &[DrainRecord],
    service: &str,
    server: SocketAddr,
    now: Moment,
) -> Departure {
    let drained = noted.iter().find(|it| it.service == service && it.server == server);
    drained.map_or(Departure::now(now.instant), |drained| Departure {
        seen: now.instant,
        before: Duration::from_millis(now.unix_ms().saturating_sub(drained.since_ms)),
        deadline: drained.deadline_ms.map(Duration::from_millis),
    })
}

/// A record of a server that drains by configuration from `now` on.
fn drained((service, server): &PoolMember, now: Moment) -> DrainRecord {
    DrainRecord {
        service: service.clone(),
        server: *server,
        since_ms: now.unix_ms(),
        ordered: false,
        deadline_ms: None,
        left: false,
    }
}

/// Returns a warning if no server of this service takes new connections.
pub(crate) fn closed_warning(fleet: &Fleet, service: &str) -> Option<String> {
    let running = fleet.services.iter().find(|running| *running.service.name == *service)?;
    if running.backends.iter().any(|backend| backend.is_open()) {
        return None;
    }
    let down = running.backends.iter().filter(|backend| !backend.is_up()).count();
    Some(format!(
        "no server of service \"{service}\" takes new connections now ({down} of {} are down, the \
         others drain): its clients are refused",
        running.backends.len()
    ))
}

fn find<'f>(
    fleet: &'f Fleet,
    service: &str,
    server: SocketAddr,
) -> Result<(&'f Arc<RunningService>, &'f Arc<Backend>), String> {
    let running = fleet.services.iter().find(|running| *running.service.name == *service);
    let running = running.ok_or_else(|| format!("there is no service \"{service}\""))?;
    let backend = running.backends.iter().find(|backend| backend.server.address == server);
    let backend = backend.ok_or_else(|| {
        let servers = running.backends.iter().map(|it| it.server.address.to_string());
        let servers = servers.collect::<Vec<_>>().join(", ");
        format!("service \"{service}\" has no server {server}; it has {servers}")
    })?;
    Ok((running, backend))
}

#[cfg(test)]
mod tests;
