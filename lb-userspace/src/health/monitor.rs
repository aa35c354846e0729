//! Runs the checks: one task for each server of each service with a check.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{self, Instant},
};
use tracing::{debug, warn};

use super::{
    failure::CheckFailure,
    keyed_tasks::KeyedTasks,
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
    context: CheckContext,
    transitions: mpsc::Sender<Transition>,
    room: Arc<Semaphore>,
    random: RandomState,
    checks: KeyedTasks<(Arc<str>, SocketAddr), CheckDefinition>,
}

/// All that a check depends on.
#[derive(Clone, PartialEq)]
struct CheckDefinition {
    check: HealthCheck,
    protocol: CheckProtocol,
    is_steered: bool,
    target: CheckTarget,
    /// The state that it begins with. It is the check that changes it later.
    up: BeginsAs,
}

/// A check is not another one because its server's state changed meanwhile.
#[derive(Clone, Copy)]
struct BeginsAs(bool);

impl PartialEq for BeginsAs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Monitor {
    /// Starts the checks: see [`follow`](Self::follow).
    ///
    /// Call it in a tokio runtime.
    pub fn start<'a>(
        services: impl IntoIterator<Item = &'a Arc<Service>>,
        is_up: impl Fn(&str, SocketAddr) -> bool,
        transitions: &mpsc::Sender<Transition>,
        context: CheckContext,
    ) -> Self {
        let room = Arc::new(Semaphore::new(context.at_once));
        let (random, transitions) = (RandomState::new(), transitions.clone());
        let checks = KeyedTasks::default();
        let mut monitor = Self { context, transitions, room, random, checks };
        monitor.follow(services, is_up);
        monitor
    }

    /// Checks the servers of `services` from now on. A check that stays as it is goes on. The
    /// initial state of a server with another check is what `is_up` returns for the service's name
    /// and its address: only changes are reported.
    pub fn follow<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Arc<Service>>,
        is_up: impl Fn(&str, SocketAddr) -> bool,
    ) {
        let Self { context, transitions, room, random, checks } = self;
        let finder = context.finder.is_some();
        let wanted = services.into_iter().filter_map(|service| {
            let check = service.pool.health_check.as_ref()?;
            Some((service, check))
        });
        let wanted = wanted.flat_map(|(service, check)| {
            let is_up = &is_up;
            service.pool.servers.iter().map(move |server| {
                let definition = CheckDefinition {
                    check: check.clone(),
                    protocol: service.check_protocol(check),
                    is_steered: service.is_steered(),
                    target: target(service, check, server.address, finder),
                    up: BeginsAs(is_up(&service.name, server.address)),
                };
                ((service.name.clone(), server.address), definition)
            })
        });
        checks.follow(wanted, |(service, server), definition| {
            let share = random.hash_one((service, server));
            let check_task = ServerCheck {
                service: service.clone(),
                server: *server,
                definition: definition.clone(),
                finder: context.finder.clone(),
                room: room.clone(),
                exhaustion: context.exhaustion.clone(),
                transitions: transitions.clone(),
            };
            check_task.run(share as f64 / u64::MAX as f64)
        });
    }

    /// Sets how many checks run at a time from now on.
    pub fn set_at_once(&mut self, at_once: usize) {
        let before = std::mem::replace(&mut self.context.at_once, at_once);
        match at_once.checked_sub(before) {
            Some(more) => self.room.add_permits(more),
            // Those that run now end before any is taken away.
            None => drop(self.room.forget_permits(before - at_once)),
        }
    }
}

/// Returns what to check. Where packets reach servers at announced addresses, these are checked, by
/// the same route.
fn target(
    service: &Service,
    check: &HealthCheck,
    mut server: SocketAddr,
    finds_routes: bool,
) -> CheckTarget {
    if let Some(port) = check.port {
        server.set_port(port.get());
    }
    let by = service.steering.forwarding;
    if !by.is_direct() || !service.is_steered() || check.direct || !finds_routes {
        return CheckTarget::own_address(server);
    }
    let reaches = |vip: &&IpAddr| by.is_tunnel() || vip.is_ipv4() == server.is_ipv4();
    let vips = service.addresses.iter().filter(reaches).copied().collect();
    // The proxy reaches servers at their own addresses.
    let own_address = service.ports.iter().any(|port| port.path() == Path::Proxy);
    CheckTarget { server, own_address, vips, by }
}

struct ServerCheck {
    service: Arc<str>,
    server: SocketAddr,
    definition: CheckDefinition,
    finder: Option<RouteFinder>,
    room: Arc<Semaphore>,
    exhaustion: Arc<ExhaustionCounters>,
    transitions: mpsc::Sender<Transition>,
}

impl ServerCheck {
    /// Runs until nobody receives transitions any more.
    async fn run(self, spread: f64) {
        let CheckDefinition { check, protocol, target, up: BeginsAs(up), .. } = &self.definition;
        let mut health = Health::new(check, *up, Instant::now().into_std(), spread);
        loop {
            time::sleep_until(health.due().into()).await;
            let place = self.room.acquire().await;
            let outcome = probe(check, *protocol, target, self.finder.as_ref()).await;
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
            FailureCause::Route => self.definition.is_steered,
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
