//! Under attack: established flows lose nothing, real clients keep connecting, and afterwards every
//! count is what is open.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{crowd::Crowd, flood::Flood, iperf, servers},
    daemon::{config::steered, process::Daemon, status::Status},
    lab::{
        process::{PATIENCE, Process, poll},
        topology::{CLIENT4, CLIENT6, Lab, VIP4, vips},
    },
};
use socket2::{Domain, Socket, Type};

const PORT: u16 = 9000;
/// Forged SYNs a second.
const RATE: u64 = 20_000;
/// Connections of real clients during an attack.
const CLIENTS: usize = 600;
/// Forged SYNs for each of them: real clients come as fast as that allows, whatever the machine
/// can.
const FORGED: u64 = 50;

struct Scene {
    daemon: Daemon,
    _servers: Vec<Process>,
    _iperf: Process,
    lab: Lab,
}

impl Scene {
    /// `more` are lines of the attacked service.
    fn up(more: &str) -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        let iperf = iperf::serve(&lab)?;
        let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
        let services = format!("{services}{more}\n{}", iperf::services(&lab));
        let node = "max_half_open = 1024\nflow_timeouts = { half_open = '2s', closed = '2s' }";
        let daemon = Daemon::start_with(&lab, node, &services)?;
        Ok(Self { daemon, _servers: servers, _iperf: iperf, lab })
    }

    /// Counted under this reason so far.
    fn counted(&self, reason: &str) -> Result<u64> {
        Ok(self.daemon.status()?.dropped(reason))
    }

    /// A connection of the client's from `source` that stays open, and how long it took.
    fn connect(&self, source: IpAddr, to: SocketAddr) -> Result<(TcpStream, Duration)> {
        let begun = Instant::now();
        let stream = self.lab.client.within(|| connect_from(source, to, PATIENCE))?;
        let took = begun.elapsed();
        let stream = stream.with_context(|| format!("{source} to {to}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        echo(&stream)?;
        Ok((stream, took))
    }

    /// Real clients in both families, all of which are answered.
    fn crowd(&self, flood: &Flood) -> Result<()> {
        let (begun, before) = (Instant::now(), flood.sent());
        let more = |number| {
            while flood.sent() < before + FORGED * number as u64 {
                thread::sleep(Duration::from_millis(1));
            }
            number < CLIENTS
        };
        let crowd = self.lab.client.within(|| Crowd::come(&vips(PORT), 32, more))?;
        let (took, forged) = (begun.elapsed().as_secs_f64(), flood.sent() - before);
        let (forged, real) = (forged as f64 / took, crowd.total() as f64 / took);
        println!("{forged:.0} forged SYNs a second beside {real:.0} connections a second");
        assert_eq!((crowd.total(), crowd.failures.len()), (CLIENTS, 0), "{:?}", crowd.failures);
        Ok(())
    }

    /// One more, in an IPv6 network of its own: a network is known as a whole.
    fn stranger6(&self) -> Result<IpAddr> {
        // Deprecated (RFC 4862, 5.5.4): only who binds to it sends from it.
        self.lab.client.ip("addr add fd65:1:0:1::2/64 dev eth0 nodad preferred_lft 0")?;
        self.lab.lb.ip(&format!("-6 route add fd65:1:0:1::/64 via {CLIENT6}"))?;
        Ok("fd65:1:0:1::2".parse()?)
    }

    /// More addresses for the client, which nobody knows yet.
    fn strangers(&self, count: u8) -> Result<Vec<IpAddr>> {
        let strangers = (0..count).map(|number| Ipv4Addr::new(10, 101, 0, 100 + number));
        strangers
            .map(|stranger| {
                self.lab.client.ip(&format!("addr add {stranger}/24 dev eth0"))?;
                Ok(stranger.into())
            })
            .collect()
    }
}

fn connect_from(source: IpAddr, to: SocketAddr, within: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), within)?;
    Ok(socket.into())
}

/// A line and its echo over a connection that stays.
fn echo(mut stream: &TcpStream) -> Result<()> {
    stream.write_all(b"still here\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    ensure!(answer.trim_end().ends_with(" still here"), "heard {answer:?}");
    Ok(())
}

#[test]
fn a_flood_takes_nothing_from_established_flows() -> Result<()> {
    let scene = Scene::up("")?;
    let mut running = iperf::Running::start(&scene.lab, VIP4.into())?;
    let held: Vec<_> = [CLIENT4.into(), CLIENT6.into()]
        .into_iter()
        .zip(vips(PORT))
        .map(|(source, vip)| scene.connect(source, vip).map(|it| it.0))
        .collect::<Result<_>>()?;
    let flood = Flood::start(&scene.lab, &vips(PORT), RATE)?;
    // Each place among the half-open flows changes hands several times.
    let many = |it: &Status| it.flows.evicted_half_open > 10_000;
    scene.daemon.when("half-open flows give way", many)?;
    running.makes_progress()?;
    held.iter().try_for_each(echo)?;
    let sent = flood.stop()?;
    let flows = scene.daemon.status()?.flows;
    println!(
        "{} forged SYNs in {:?}: {} half-open flows gave way, {} established ones",
        sent.packets, sent.took, flows.evicted_half_open, flows.evicted
    );
    assert_eq!(flows.evicted, 0);
    running.makes_progress()?;
    held.iter().try_for_each(echo)?;
    drop(held);
    drop(running);
    scene.daemon.when_quiet()?;
    scene.daemon.stop()
}

#[test]
fn real_clients_pass_a_challenge() -> Result<()> {
    let scene = Scene::up("syn_flood = { threshold = 100 }")?;
    let [v4, v6] = vips(PORT);
    // The client's own addresses complete a handshake before the attack.
    for (source, vip) in [CLIENT4.into(), CLIENT6.into()].into_iter().zip(vips(PORT)) {
        scene.connect(source, vip)?;
    }
    let mut running = iperf::Running::start(&scene.lab, VIP4.into())?;
    let strangers = scene.strangers(16)?.into_iter().map(|stranger| (stranger, v4));
    let strangers: Vec<_> = strangers.chain([(scene.stranger6()?, v6)]).collect();
    let flood = Flood::start(&scene.lab, &vips(PORT), RATE)?;
    scene.daemon.when("unknown sources are challenged", |it| it.dropped("challenged") > 0)?;

    scene.crowd(&flood)?;
    assert_eq!(scene.counted("challenge_passed")?, 0, "known from before, and not challenged");

    let mut waits = Vec::new();
    for &(stranger, vip) in &strangers {
        waits.push(scene.connect(stranger, vip)?.1);
    }
    let passed = scene.counted("challenge_passed")?;
    assert!(passed >= strangers.len() as u64, "{passed} of {}", strangers.len());
    for &(stranger, vip) in &strangers {
        scene.connect(stranger, vip)?;
    }
    assert_eq!(scene.counted("challenge_passed")?, passed, "known by now");

    running.makes_progress()?;
    let sent = flood.stop()?;
    drop(running);
    waits.sort();
    let (half, most) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let status = scene.daemon.status()?;
    println!(
        "{} challenged, {passed} passed; a first connection took {half:?}, {most:?} at most",
        status.dropped("challenged")
    );
    let opened = status.service("tcp").context("the service")?.connections();
    assert!(opened < sent.packets / 2, "{opened} flows opened for {} SYNs", sent.packets);
    scene.daemon.when_quiet()?;
    scene.daemon.stop()
}

#[test]
fn a_denied_network_gets_no_answer() -> Result<()> {
    let scene = Scene::up(
        "deny = ['10.101.0.96/27', 'fd65:1::/64']\nallow = ['10.101.0.100', '10.101.0.0/24']",
    )?;
    let [v4, v6] = vips(PORT);
    let strangers = scene.strangers(2)?;
    scene.connect(CLIENT4.into(), v4)?;
    scene.connect(strangers[0], v4)?;
    let refused = [(strangers[1], v4), (CLIENT6.into(), v6)];
    for (number, (source, vip)) in (1..).zip(refused) {
        let moment = Duration::from_millis(300);
        let tried = scene.lab.client.within(|| connect_from(source, vip, moment).map(drop))?;
        assert_eq!(tried.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{source}");
        assert!(scene.counted("denied")? >= number, "{source}");
    }
    scene.daemon.when_quiet()?;
    scene.daemon.stop()
}

#[test]
fn a_source_over_its_rate_waits() -> Result<()> {
    let scene = Scene::up("rate_limit = { per_source = { rate = 4, burst = 2 } }")?;
    let [vip, _] = vips(PORT);
    let crowd = scene.lab.client.within(|| Crowd::come(&[vip], 8, |begun| begun < 8))?;
    assert_eq!((crowd.total(), crowd.failures.len()), (8, 0), "{:?}", crowd.failures);
    assert!(scene.counted("source_rate")? > 0);
    assert_eq!(scene.counted("service_rate")?, 0);
    scene.daemon.when_quiet()?;
    scene.daemon.stop()
}

#[test]
fn a_service_over_its_rate_makes_all_wait() -> Result<()> {
    let scene = Scene::up("rate_limit = { per_service = { rate = 4, burst = 2 } }")?;
    let [vip, _] = vips(PORT);
    let strangers = scene.strangers(6)?;
    let waiting = thread::scope(|scope| {
        let scene = &scene;
        let visit = |&source| scope.spawn(move || scene.connect(source, vip).map(drop));
        let visits: Vec<_> = strangers.iter().map(visit).collect();
        visits.into_iter().try_for_each(|it| it.join().expect("no panic"))
    });
    waiting?;
    assert!(scene.counted("service_rate")? > 0);
    poll("the counts are back", || Ok(scene.daemon.status()?.live() == 0))?;
    scene.daemon.stop()
}
