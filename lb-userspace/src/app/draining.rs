//! Servers that drain: by configuration, or by order of the operator.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tracing::info;

use crate::{
    admin::Drain,
    fleet::{Backend, Fleet, RunningService},
};

/// Who drains until when. Those without a deadline drain until they are empty.
#[derive(Default)]
pub(super) struct Draining {
    deadlines: Vec<Deadline>,
}

struct Deadline {
    running: Arc<RunningService>,
    backend: Arc<Backend>,
    at: Instant,
}

impl Draining {
    /// Those that drain by configuration, from `now` on.
    pub(super) fn of(fleet: &Fleet, now: Instant) -> Self {
        let mut draining = Self::default();
        for running in &fleet.services {
            for backend in running.backends.iter().filter(|backend| backend.is_draining()) {
                let deadline = running.service.steering.drain_deadline;
                draining.set(running, backend, deadline.map(|deadline| now + deadline));
            }
        }
        draining
    }

    /// Carries an order out.
    ///
    /// # Errors
    ///
    /// There is no such server, or its configuration decides, in words for the operator.
    pub(super) fn order(
        &mut self,
        fleet: &Fleet,
        order: &Drain,
        now: Instant,
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
        let deadline = order.deadline().or(running.service.steering.drain_deadline);
        let deadline = deadline.filter(|_| !order.undo).map(|deadline| now + deadline);
        self.set(running, backend, deadline);
        running.touch();
        let (service, server) = (&running.service.name, order.server);
        match order.undo {
            true => info!(%service, %server, "no longer draining"),
            false => info!(%service, %server, deadline = ?order.deadline(), "draining"),
        }
        Ok(())
    }

    /// Expels those whose time is over; answers whether there were any.
    pub(super) fn expel(&mut self, now: Instant) -> bool {
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

    /// When [`expel`](Self::expel) has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().map(|deadline| deadline.at).min()
    }

    fn set(
        &mut self,
        running: &Arc<RunningService>,
        backend: &Arc<Backend>,
        deadline: Option<Instant>,
    ) {
        self.deadlines.retain(|other| !Arc::ptr_eq(&other.backend, backend));
        backend.set_drain_deadline(deadline);
        let (running, backend) = (running.clone(), backend.clone());
        self.deadlines.extend(deadline.map(|at| Deadline { running, backend, at }));
    }
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
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{app::assembly, config, control::Slots, tables::Capacity};

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
        assembly::assemble(&config.services, &mut Slots::new(capacity)).unwrap()
    }

    fn order(server: &str, deadline_ms: Option<u64>, undo: bool) -> Drain {
        let server = server.parse().unwrap();
        Drain { service: "raw".into(), server, deadline_ms, undo }
    }

    #[test]
    fn who_drains_by_configuration_is_expelled_in_time() {
        let (fleet, now) = (fleet(), Instant::now());
        let mut draining = Draining::of(&fleet, now);
        let minute = Duration::from_secs(60);
        assert_eq!(draining.next(), Some(now + minute));
        assert!(!draining.expel(now));
        assert!(draining.expel(now + minute) && !draining.expel(now + minute));
        let backends = &fleet.services[0].backends;
        assert!(backends[1].is_expelled() && !backends[0].is_expelled());
        let undo = draining.order(&fleet, &order("10.0.0.2:80", None, true), now);
        assert!(undo.unwrap_err().contains("drains by configuration"));
    }

    #[test]
    fn an_order_drains_and_another_undoes_it() {
        let (fleet, now) = (fleet(), Instant::now());
        let mut draining = Draining::default();
        let (first, revision) = (&fleet.services[0].backends[0], fleet.services[0].revision());
        draining.order(&fleet, &order("10.0.0.1:80", Some(5), false), now).unwrap();
        assert!(first.is_draining() && !first.is_open() && !first.is_expelled());
        assert_eq!(first.drain_deadline(), Some(now + Duration::from_millis(5)));
        assert_ne!(fleet.services[0].revision(), revision);
        assert!(draining.expel(now + Duration::from_millis(5)));
        assert!(first.is_expelled());
        draining.order(&fleet, &order("10.0.0.1:80", None, true), now).unwrap();
        assert!(first.is_open() && !first.is_expelled());
        assert_eq!((draining.next(), first.drain_deadline()), (None, None));
    }

    #[test]
    fn who_does_not_exist_is_said() {
        let (fleet, now) = (fleet(), Instant::now());
        let mut draining = Draining::default();
        let wrong = draining.order(&fleet, &order("10.0.0.9:80", None, false), now);
        assert!(wrong.unwrap_err().ends_with("it has 10.0.0.1:80, 10.0.0.2:80"));
        let other = Drain { service: "web".into(), ..order("10.0.0.1:80", None, false) };
        assert_eq!(
            draining.order(&fleet, &other, now),
            Err("there is no service \"web\"".to_owned())
        );
    }
}
