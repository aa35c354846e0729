//! Limits of backends, and flows of a backend that is down: real connections, decided by the loaded
//! program as the configuration says.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::udp_echo, servers, talk::Talk},
    daemon::{config, process::Daemon},
    lab::{
        process::{PATIENCE, Process, poll},
        topology::{Lab, vips},
    },
};

const PORT: u16 = 9000;
/// The backend that dies, and its name.
const SICK: usize = 1;
const NAME: &str = "b2";

struct Stage {
    daemon: Daemon,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Stage {
    /// A TCP and a UDP service with these lines more.
    fn up(more: &str) -> Result<Self> {
        Self::with(more, "")
    }

    /// And some of TCP alone.
    fn with(more: &str, tcp: &str) -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        let service = |protocol, port| {
            let service =
                config::steered(protocol, protocol, PORT, &servers::addresses(&lab, port));
            format!("{service}{more}\n")
        };
        let services =
            [service("tcp", servers::TCP), format!("{tcp}\n"), service("udp", servers::UDP)];
        let daemon = Daemon::start(&lab, &services.concat())?;
        Ok(Self { daemon, _servers: servers, lab })
    }

    fn talks(&self, to: SocketAddr, count: usize) -> Result<Vec<Talk>> {
        (0..count).map(|_| Talk::open(&self.lab.client, to)).collect()
    }

    fn connect(&self, to: SocketAddr) -> Result<std::io::Result<TcpStream>> {
        self.lab.client.within(|| TcpStream::connect_timeout(&to, PATIENCE))
    }

    fn udp(&self, to: SocketAddr) -> Result<(String, UdpSocket)> {
        self.lab.client.within(|| udp_echo(to, "hello"))?
    }

    fn dropped(&self, reason: &str) -> Result<u64> {
        Ok(self.daemon.status()?.dropped(reason))
    }

    fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}

fn shares(talks: &[Talk]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for talk in talks {
        *shares.entry(talk.server.as_str()).or_default() += 1;
    }
    shares
}

/// Nobody is above while others are below, whatever the hashes say; then all take more.
#[test]
fn above_the_soft_limit_others_come_first() -> Result<()> {
    const SOFT: usize = 7;
    let stage = Stage::up(&format!("concurrency = {{ soft_limit = {SOFT} }}"))?;
    for to in vips(PORT) {
        let talks = stage.talks(to, 3 * SOFT)?;
        assert_eq!(shares(&talks), [("b1", SOFT), ("b2", SOFT), ("b3", SOFT)].into(), "{to}");
        let more = stage.talks(to, SOFT)?;
        ensure!(more.len() == SOFT);
    }
    assert_eq!(stage.dropped("backends_full")?, 0);
    stage.stop()
}

/// The client hears of it at once, and the next one is taken when there is room.
#[test]
fn at_the_hard_limit_connections_are_refused() -> Result<()> {
    const HARD: usize = 3;
    let stage = Stage::up(&format!("concurrency = {{ soft_limit = 2, hard_limit = {HARD} }}"))?;
    for to in vips(PORT) {
        let mut talks = stage.talks(to, 3 * HARD)?;
        assert_eq!(shares(&talks), [("b1", HARD), ("b2", HARD), ("b3", HARD)].into(), "{to}");
        let before = stage.dropped("backends_full")?;
        for _ in 0..4 {
            let error = stage.connect(to)?.err().context("all are full")?;
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
        }
        assert_eq!(stage.dropped("backends_full")?, before + 4);
        talks.iter_mut().try_for_each(Talk::echo)?;
        let freed = talks.pop().context("one of them")?.server;
        poll("there is room again", || Ok(stage.connect(to)?.is_ok()))?;
        ensure!(!freed.is_empty());
    }
    stage.stop()
}

/// Nobody hears of it.
#[test]
fn at_the_hard_limit_datagrams_are_dropped() -> Result<()> {
    let stage = Stage::up("concurrency = { hard_limit = 1 }")?;
    for to in vips(PORT) {
        let held = (0..3).map(|_| stage.udp(to)).collect::<Result<Vec<_>>>()?;
        let mut names: Vec<_> = held.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["b1", "b2", "b3"], "{to}");
        let before = stage.dropped("backends_full")?;
        stage.lab.client.within(|| -> Result<()> {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(to)?;
            socket.send(b"too many")?;
            socket.set_read_timeout(Some(Duration::from_millis(200)))?;
            let error = socket.recv(&mut [0; 16]).err().context("nobody may answer")?;
            ensure!(error.kind() == ErrorKind::WouldBlock, "{error}");
            Ok(())
        })??;
        assert_eq!(stage.dropped("backends_full")?, before + 1);
    }
    stage.stop()
}

/// Long enough to be sure of it on a busy machine, short enough to wait for.
const CHECK: &str = "load_balancer.health_check = { port = 7000, interval = \"200ms\", \
                     timeout = \"1s\", unhealthy_threshold = 2 }";
/// Flows of each kind: enough that every backend has some.
const ENOUGH: usize = 24;

/// A backend goes off the network: nobody says a word of its flows but us. Answers how many TCP
/// flows it had.
fn dies(stage: &mut Stage) -> Result<usize> {
    let mut talks = Vec::new();
    let mut sockets = Vec::new();
    for to in vips(PORT) {
        talks.extend(stage.talks(to, ENOUGH)?);
        for _ in 0..ENOUGH {
            sockets.push(stage.udp(to)?);
        }
    }
    stage.lab.backends[SICK].netns.ip("link set eth0 down")?;
    let addresses = stage.lab.backends[SICK].addresses().map(|it| it.to_string());
    poll("it is down", || {
        let status = stage.daemon.status()?;
        let backends = ["tcp", "udp"].iter().filter_map(|name| status.service(name));
        let mut backends = backends.flat_map(|service| &service.backends);
        let is_sick = |address: &str| addresses.iter().any(|it| address.contains(it));
        Ok(backends.all(|backend| backend.up != is_sick(&backend.address)))
    })?;
    let mut had = 0;
    for talk in &mut talks {
        if talk.server != NAME {
            talk.echo()?;
            continue;
        }
        had += 1;
        let error = talk.echo().err().context("its backend is gone")?;
        let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::ConnectionReset), "{error:#}");
    }
    ensure!(had > 0, "it had no connection");
    for (name, socket) in &sockets {
        let now = ask(socket)?;
        ensure!((name == NAME) == (now != *name) && now != NAME, "{name} was asked, {now} answers");
    }
    ensure!(sockets.iter().any(|(name, _)| name == NAME), "it had no datagrams");
    Ok(had)
}

/// Who answers the next datagram from the same socket.
fn ask(socket: &UdpSocket) -> Result<String> {
    let (mut buffer, mut name) = ([0; 64], String::new());
    poll("a datagram is answered", || {
        socket.send(b"who is there?")?;
        let Ok(length) = socket.recv(&mut buffer) else { return Ok(false) };
        let answer = std::str::from_utf8(&buffer[..length])?;
        name = answer.split(' ').next().unwrap_or_default().to_owned();
        Ok(answer.ends_with("who is there?"))
    })?;
    Ok(name)
}

/// We tell the client ourselves.
#[test]
fn flows_of_a_dead_backend_are_reset() -> Result<()> {
    let mut stage = Stage::with(CHECK, "on_backend_down = \"reset\"")?;
    let had = dies(&mut stage)? as u64;
    let reset = stage.dropped("backend_gone")?;
    ensure!(reset >= had, "{reset} of {had} were reset");
    let status = stage.daemon.status()?;
    let opened = status.service("tcp").context("a service")?.connections();
    assert_eq!(opened, 2 * ENOUGH as u64, "no flow went elsewhere");
    stage.stop()
}

/// Another backend gets the flow. A server that knows nothing of the connection says so itself.
#[test]
fn flows_of_a_dead_backend_move() -> Result<()> {
    let mut stage = Stage::with(CHECK, "on_backend_down = \"move\"")?;
    let had = dies(&mut stage)? as u64;
    assert_eq!(stage.dropped("backend_gone")?, 0);
    let status = stage.daemon.status()?;
    let opened = status.service("tcp").context("a service")?.connections();
    assert_eq!(opened, 2 * ENOUGH as u64 + had, "each opened another flow");
    stage.stop()
}
