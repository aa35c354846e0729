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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{app::reconcile::fleet_builder, config, control::StableIds, tables::Capacity};

    const ONE: &str = r#"
[node]
interfaces = ["eth0"]

[[services]]
name = "raw"
addresses = ["203.0.113.1"]
ports = [{ port = 7000 }]
drain_deadline = "60s"
load_balancer.servers = [
  { address = "10.0.0.1:80" },
  { address = "10.0.0.2:80", drain = true },
]
"#;

    fn fleet() -> Fleet {
        let config = config::parse(Path::new("lb.toml"), ONE).unwrap_or_else(|e| panic!("{e}"));
        let capacity = Capacity { services: 9, backends: 9, loads: 9, rings: 9 };
        fleet_builder::build_fleet(&config.services, &mut StableIds::new(capacity)).unwrap()
    }

    fn order(server: &str, deadline_ms: Option<u64>, undo: bool) -> DrainRequest {
        let server = server.parse().unwrap();
        DrainRequest { service: "raw".into(), server, deadline_ms, undo }
    }

    #[test]
    fn who_drains_by_configuration_is_expelled_in_time() {
        let (fleet, now) = (fleet(), Moment::now());
        let mut draining = Drains::resume(&fleet, Vec::new(), now);
        let minute = Duration::from_secs(60);
        let end = now.instant + minute;
        assert_eq!(draining.next(), Some(end));
        assert!(!draining.expel(now.instant));
        assert!(draining.expel(end) && !draining.expel(end));
        let backends = &fleet.services[0].backends;
        assert!(backends[1].is_expelled() && !backends[0].is_expelled());
        let undo = draining.order(&fleet, &order("10.0.0.2:80", None, true), now);
        assert!(undo.unwrap_err().contains("drains by configuration"));
    }

    #[test]
    fn an_order_drains_and_another_undoes_it() {
        let (fleet, now) = (fleet(), Moment::now());
        let mut draining = Drains::default();
        let (first, revision) = (&fleet.services[0].backends[0], fleet.services[0].revision());
        draining.order(&fleet, &order("10.0.0.1:80", Some(5), false), now).unwrap();
        assert!(first.is_draining() && !first.is_open() && !first.is_expelled());
        assert!(
            closed_warning(&fleet, "raw").unwrap().contains("0 of 2 are down, the others drain")
        );
        assert_eq!(first.drain_deadline(), Some(now.instant + Duration::from_millis(5)));
        assert_ne!(fleet.services[0].revision(), revision);
        assert!(draining.expel(now.instant + Duration::from_millis(5)));
        assert!(first.is_expelled());
        draining.order(&fleet, &order("10.0.0.1:80", None, true), now).unwrap();
        assert!(first.is_open() && !first.is_expelled());
        assert_eq!(closed_warning(&fleet, "raw"), None);
        assert_eq!((draining.next(), first.drain_deadline()), (None, None));
    }

    #[test]
    fn who_does_not_exist_is_said() {
        let (fleet, now) = (fleet(), Moment::now());
        let mut draining = Drains::default();
        let wrong = draining.order(&fleet, &order("10.0.0.9:80", None, false), now);
        assert!(wrong.unwrap_err().ends_with("it has 10.0.0.1:80, 10.0.0.2:80"));
        let other = DrainRequest { service: "web".into(), ..order("10.0.0.1:80", None, false) };
        assert_eq!(
            draining.order(&fleet, &other, now),
            Err("there is no service \"web\"".to_owned())
        );
    }

    fn later(now: Moment, seconds: u64) -> Moment {
        let passed = Duration::from_secs(seconds);
        Moment { instant: now.instant + passed, wall: now.wall + passed }
    }

    #[test]
    fn an_order_stands_and_its_time_runs_on_while_daemons_come_and_go() {
        let (first, now) = (fleet(), Moment::now());
        let mut draining = Drains::resume(&first, Vec::new(), now);
        draining.order(&first, &order("10.0.0.1:80", Some(90_000), false), now).unwrap();
        let mut noted = draining.noted();
        assert_eq!(noted.len(), 2);
        for seconds in [20, 40, 50] {
            let (fleet, then) = (fleet(), later(now, seconds));
            let draining = Drains::resume(&fleet, noted, then);
            assert!(fleet.services[0].backends.iter().all(|backend| backend.is_draining()));
            let ends: Vec<_> = draining.deadlines.iter().map(|it| it.at - now.instant).collect();
            assert_eq!(ends, [90, 60].map(Duration::from_secs));
            noted = draining.noted();
        }
        let (fleet, then) = (fleet(), later(now, 100));
        let mut draining = Drains::resume(&fleet, noted, then);
        assert!(fleet.services[0].backends.iter().all(|backend| backend.is_expelled()));
        draining.order(&fleet, &order("10.0.0.1:80", None, true), then).unwrap();
        let noted = draining.noted();
        assert_eq!(noted.len(), 1, "what an order undid is forgotten: {noted:?}");
        let back = self::fleet();
        Drains::resume(&back, noted, then);
        assert!(
            back.services[0].backends[0].is_open() && back.services[0].backends[1].is_expelled()
        );
    }

    #[test]
    fn what_the_configuration_took_back_is_forgotten_and_what_was_ordered_is_not() {
        let (fleet, now) = (fleet(), Moment::now());
        let member = |server: &str| ("raw".to_owned(), server.parse().unwrap());
        let configured = drained(&member("10.0.0.1:80"), now);
        let gone = DrainRecord { ordered: true, ..drained(&member("10.0.0.9:80"), now) };
        let mut draining = Drains::resume(&fleet, vec![configured.clone(), gone], now);
        assert_eq!(draining.noted().len(), 2, "it may have flows");
        assert!(draining.follow(&[], now), "it has none");
        let noted = draining.noted();
        assert_eq!(noted.len(), 1, "{noted:?}");
        assert!(fleet.services[0].backends[0].is_open());
        let ordered = DrainRecord { ordered: true, ..configured };
        Drains::resume(&fleet, vec![ordered], now);
        assert!(!fleet.services[0].backends[0].is_open());
    }

    #[test]
    fn a_wall_clock_that_was_set_back_prolongs_nothing() {
        let (fleet, now) = (fleet(), Moment::now());
        let noted = Drains::resume(&fleet, Vec::new(), later(now, 3600)).noted();
        let draining = Drains::resume(&fleet, noted, now);
        assert_eq!(draining.next(), Some(now.instant + Duration::from_secs(60)));
    }
}
