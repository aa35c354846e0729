//! Runs the checks: one task for each server of each service with a check.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{self, Instant},
};
use tracing::{debug, warn};

use super::{
    failure::CheckFailure,
    probe::{CheckTarget, probe},
    state::Health,
    tunnel::RouteFinder,
};
use crate::{
    exhaustion::{ExhaustionCounters, FailedOperation, FailureCause},
    service::{CheckProtocol, HealthCheck, Path, Service},
};

/// The pause before a check that could not be made is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// A server became healthy, or ceased to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The service's name.
    pub service: Arc<str>,
    /// The server's address in the pool, with its own port.
    pub server: SocketAddr,
    pub up: bool,
    /// The last check's result, as a message.
    pub why: String,
}

/// What checks need.
pub struct CheckContext {
    /// Counts checks that could not be made.
    pub exhaustion: Arc<ExhaustionCounters>,
    /// Checks at a time; others wait.
    pub at_once: usize,
    /// Finds the routes of clients' packets. `None`: all servers are checked at their own
    /// addresses.
    pub finder: Option<RouteFinder>,
}

/// The running checks. They stop on drop.
pub struct Monitor {
    _checks: JoinSet<()>,
}

impl Monitor {
    /// Starts the checks. A server's initial state is what `is_up` returns for the service's name
    /// and its address: only changes are reported.
    ///
    /// Call it in a tokio runtime.
    pub fn start<'a>(
        services: impl IntoIterator<Item = &'a Arc<Service>>,
        is_up: impl Fn(&str, SocketAddr) -> bool,
        transitions: &mpsc::Sender<Transition>,
        context: CheckContext,
    ) -> Self {
        let mut checks = JoinSet::new();
        let random = RandomState::new();
        let room = Arc::new(Semaphore::new(context.at_once));
        for service in services {
            let Some(check) = &service.pool.health_check else {
                continue;
            };
            for server in &service.pool.servers {
                let check_task = ServerCheck {
                    service: service.name.clone(),
                    server: server.address,
                    target: target(service, check, server.address, context.finder.clone()),
                    up: is_up(&service.name, server.address),
                    check: check.clone(),
                    protocol: service.check_protocol(check),
                    is_steered: service.is_steered(),
                    room: room.clone(),
                    exhaustion: context.exhaustion.clone(),
                    transitions: transitions.clone(),
                };
                let share = random.hash_one((&service.name, server.address));
                checks.spawn(check_task.run(share as f64 / u64::MAX as f64));
            }
        }
        Self { _checks: checks }
    }
}

/// Returns what to check. Where packets reach servers at announced addresses, these are checked, by
/// the same route.
fn target(
    service: &Service,
    check: &HealthCheck,
    mut server: SocketAddr,
    finder: Option<RouteFinder>,
) -> CheckTarget {
    if let Some(port) = check.port {
        server.set_port(port.get());
    }
    let by = service.steering.forwarding;
    if !by.is_direct() || !service.is_steered() || check.direct {
        return CheckTarget::own_address(server);
    }
    let reaches = |vip: &&IpAddr| by.is_tunnel() || vip.is_ipv4() == server.is_ipv4();
    let vips = service.addresses.iter().filter(reaches).copied().collect();
    // The proxy reaches servers at their own addresses.
    let own_address = service.ports.iter().any(|port| port.path() == Path::Proxy);
    CheckTarget { server, own_address, vips, by, finder }
}

struct ServerCheck {
    service: Arc<str>,
    server: SocketAddr,
    target: CheckTarget,
    up: bool,
    check: HealthCheck,
    protocol: CheckProtocol,
    is_steered: bool,
    room: Arc<Semaphore>,
    exhaustion: Arc<ExhaustionCounters>,
    transitions: mpsc::Sender<Transition>,
}

impl ServerCheck {
    /// Runs until nobody receives transitions any more.
    async fn run(self, spread: f64) {
        let mut health = Health::new(&self.check, self.up, Instant::now().into_std(), spread);
        loop {
            time::sleep_until(health.due().into()).await;
            let place = self.room.acquire().await;
            let outcome = probe(&self.check, self.protocol, &self.target).await;
            drop(place);
            if let Err(failure) = &outcome {
                debug!(service = %self.service, server = %self.server, %failure, "check failed");
            }
            let now = Instant::now().into_std();
            if let Some(failure) = outcome.as_ref().err().filter(|it| self.is_ours(it)) {
                self.tell(failure);
                health.postpone(now, PAUSE);
                continue;
            }
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

impl ServerCheck {
    /// Returns whether a check failed because of this host. A missing route counts where packets
    /// are steered: flows wait until it is back, and new ones follow the routes by themselves. The
    /// proxy cannot do that, and does better with another server.
    fn is_ours(&self, failure: &CheckFailure) -> bool {
        match failure.cause() {
            FailureCause::Resource => true,
            FailureCause::Route => self.is_steered,
            FailureCause::Peer => false,
        }
    }

    fn tell(&self, failure: &CheckFailure) {
        if let Some(others) = self.exhaustion.note(FailedOperation::Check) {
            let (service, server) = (&self.service, self.server);
            warn!(
                %service, %server, %failure, others,
                "a check could not be made, because this host lacks resources: \
                 its servers keep their state"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use tokio::net::TcpListener;

    use super::*;
    use crate::service::{Handler, Pool, Port, Probe, Server, Strategy};

    fn context() -> CheckContext {
        CheckContext { exhaustion: Arc::default(), at_once: 1, finder: None }
    }

    fn service(server: SocketAddr, checked: Option<u16>) -> Arc<Service> {
        let server = Server::at(server);
        let health_check = HealthCheck {
            port: checked.and_then(NonZeroU16::new),
            interval: Duration::from_millis(20),
            unhealthy_interval: Duration::from_millis(20),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
            ..HealthCheck::plain(Probe::Tcp)
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
        let _monitor = Monitor::start([&service(server, None)], |_, _| true, &sender, context());
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
        let _monitor = Monitor::start([&service(server, None)], is_up, &sender, context());
        let first = transitions.recv().await.unwrap();
        assert_eq!((first.server, first.up), (server, true));
    }

    #[tokio::test]
    async fn the_check_may_have_a_port_of_its_own() {
        let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let checked = health.local_addr().unwrap().port();
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let (sender, mut transitions) = mpsc::channel(8);
        let _monitor =
            Monitor::start([&service(server, Some(checked))], |_, _| true, &sender, context());
        health.accept().await.unwrap();
        health.accept().await.unwrap();
        assert!(transitions.try_recv().is_err(), "healthy by its other port");
        drop(health);
        assert_eq!(transitions.recv().await.unwrap().server, server);
    }

    /// No connection of ours leads to a group. The proxy does better with another server; steered
    /// flows do not go by our sockets.
    #[tokio::test]
    async fn who_cannot_be_reached_from_here_is_down_for_the_proxy_alone() {
        let group = SocketAddr::from(([224, 0, 0, 1], 9));
        let steered = service(group, None);
        let mut proxied = (*steered).clone();
        proxied.name = "proxied".into();
        proxied.ports[0].handlers = vec![Handler::Http];
        let (sender, mut transitions) = mpsc::channel(8);
        let context = context();
        let exhaustion = context.exhaustion.clone();
        let both = [&steered, &Arc::new(proxied)];
        let _monitor = Monitor::start(both, |_, _| true, &sender, context);
        let down = transitions.recv().await.unwrap();
        assert_eq!((&*down.service, down.up), ("proxied", false));
        while exhaustion.count(FailedOperation::Check) < 2 {
            time::sleep(Duration::from_millis(20)).await;
        }
        assert!(transitions.try_recv().is_err());
    }

    #[tokio::test]
    async fn checks_stop_with_the_monitor() {
        let (sender, mut transitions) = mpsc::channel(8);
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let monitor = Monitor::start([&service(server, None)], |_, _| true, &sender, context());
        drop((monitor, sender));
        while transitions.recv().await.is_some() {}
    }
}
