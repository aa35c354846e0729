//! A task for each server of each service that has a check.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, Instant},
};
use tracing::debug;

use super::{Health, probe};
use crate::service::{HealthCheck, Service};

/// A server became healthy or ceased to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The service's name.
    pub service: Arc<str>,
    /// The server's address in the pool, with its own port.
    pub server: SocketAddr,
    pub up: bool,
    /// What the last check found, for people.
    pub why: String,
}

/// The running checks. They stop when it is dropped.
pub struct Monitor {
    _checks: JoinSet<()>,
}

impl Monitor {
    /// Starts checking. Every server counts as what `is_up` says of it, by the service's name and
    /// its address, until its checks say otherwise: only changes are reported.
    ///
    /// Call it within a tokio runtime.
    pub fn start<'a>(
        services: impl IntoIterator<Item = &'a Arc<Service>>,
        is_up: impl Fn(&str, SocketAddr) -> bool,
        transitions: &mpsc::Sender<Transition>,
    ) -> Self {
        let mut checks = JoinSet::new();
        let random = RandomState::new();
        for service in services {
            let Some(check) = &service.pool.health_check else {
                continue;
            };
            for server in &service.pool.servers {
                let watch = Watch {
                    service: service.name.clone(),
                    server: server.address,
                    up: is_up(&service.name, server.address),
                    check: check.clone(),
                    transitions: transitions.clone(),
                };
                let share = random.hash_one((&service.name, server.address));
                checks.spawn(watch.run(share as f64 / u64::MAX as f64));
            }
        }
        Self { _checks: checks }
    }
}

struct Watch {
    service: Arc<str>,
    server: SocketAddr,
    up: bool,
    check: HealthCheck,
    transitions: mpsc::Sender<Transition>,
}

impl Watch {
    /// Until nobody listens for transitions any more.
    async fn run(self, spread: f64) {
        let mut target = self.server;
        if let Some(port) = self.check.port {
            target.set_port(port.get());
        }
        let mut health = Health::new(&self.check, self.up, Instant::now().into_std(), spread);
        loop {
            time::sleep_until(health.due().into()).await;
            let outcome = probe(&self.check, target).await;
            if let Err(failure) = &outcome {
                debug!(service = %self.service, server = %self.server, %failure, "check failed");
            }
            let now = Instant::now().into_std();
            let Some(up) = health.handle_outcome(now, outcome.is_ok()) else {
                continue;
            };
            let transition = Transition {
                service: self.service.clone(),
                server: self.server,
                up,
                why: outcome.map_or_else(|failure| failure.to_string(), |()| "answers".to_owned()),
            };
            if self.transitions.send(transition).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, time::Duration};

    use tokio::net::TcpListener;

    use super::*;
    use crate::service::{Pool, Port, Probe, Server, Strategy};

    fn service(server: SocketAddr, checked: Option<u16>) -> Arc<Service> {
        let server = Server::at(server);
        let health_check = HealthCheck {
            probe: Probe::Tcp,
            port: checked.and_then(NonZeroU16::new),
            interval: Duration::from_millis(20),
            unhealthy_interval: Duration::from_millis(20),
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        };
        let pool = Pool::plain(Strategy::P2c, vec![server]);
        let pool = Pool { health_check: Some(health_check), ..pool };
        Arc::new(Service {
            addresses: vec!["203.0.113.1".parse().unwrap()],
            ports: vec![Port::plain(NonZeroU16::MIN)],
            ..Service::plain("web", pool)
        })
    }

    #[tokio::test]
    async fn a_server_goes_and_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let (sender, mut transitions) = mpsc::channel(8);
        let _monitor = Monitor::start([&service(server, None)], |_, _| true, &sender);
        drop(listener);
        let down = transitions.recv().await.unwrap();
        assert_eq!((&*down.service, down.server, down.up), ("web", server, false));
        assert!(down.why.contains("refused"), "{}", down.why);
        let _listener = TcpListener::bind(server).await.unwrap();
        let up = transitions.recv().await.unwrap();
        assert_eq!((up.up, &*up.why), (true, "answers"));
    }

    #[tokio::test]
    async fn one_that_begins_as_down_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let (sender, mut transitions) = mpsc::channel(8);
        let is_up = |service: &str, of| (service, of) != ("web", server);
        let _monitor = Monitor::start([&service(server, None)], is_up, &sender);
        let first = transitions.recv().await.unwrap();
        assert_eq!((first.server, first.up), (server, true));
    }

    #[tokio::test]
    async fn the_check_may_have_a_port_of_its_own() {
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let checked = health.local_addr().unwrap().port();
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let (sender, mut transitions) = mpsc::channel(8);
        let _monitor = Monitor::start([&service(server, Some(checked))], |_, _| true, &sender);
        health.accept().await.unwrap();
        health.accept().await.unwrap();
        assert!(transitions.try_recv().is_err(), "healthy by its other port");
        drop(health);
        assert_eq!(transitions.recv().await.unwrap().server, server);
    }

    #[tokio::test]
    async fn checks_stop_with_the_monitor() {
        let (sender, mut transitions) = mpsc::channel(8);
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let monitor = Monitor::start([&service(server, None)], |_, _| true, &sender);
        drop((monitor, sender));
        while transitions.recv().await.is_some() {}
    }
}
