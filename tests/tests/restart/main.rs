//! The data path outlives the daemon: nothing that is steered notices how it ends or begins.
//!
//! Every packet to an announced address that no program sees reaches the host's own TCP, which
//! answers with RST: had an interface been without a program for a moment, the bulk transfer that
//! runs through it all would break, and the host would have counted a reset.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    client::tcp_echo,
    config::{service, steered},
    daemon::{Daemon, preamble},
    held::hold,
    iperf,
    process::{Process, program},
    servers,
    status::{Service, Status},
    talk::Talk,
    topology::{Lab, VIP4, VIP6, pins, vips},
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;
const WEB: u16 = 9001;
const PROXIED: u16 = 80;

struct Scene {
    bulk: iperf::Running,
    talks: Vec<Talk>,
    /// Flows that were ever opened through the service `tcp`.
    opened: u64,
    daemon: Option<Daemon>,
    servers: Vec<Process>,
    lab: Lab,
}

impl Scene {
    /// A daemon under load: a bulk transfer, and a quiet connection of each family.
    fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let mut servers = servers::start_all(&lab)?;
        servers.push(iperf::serve(&lab)?);
        let config = lab.directory().join("lb.toml");
        fs::write(config, preamble(&lab) + &services(&lab, &lab.backends.len()))?;
        let daemon = Daemon::run(&lab, &lab.directory().join("lb.toml"))?;
        let bulk = iperf::Running::start(&lab, VIP4.into())?;
        let talks = vips(PORT).map(|vip| Talk::open(&lab.client, vip));
        let talks: Vec<_> = talks.into_iter().collect::<Result<_>>()?;
        let opened = talks.len() as u64;
        Ok(Self { bulk, talks, opened, daemon: Some(daemon), servers, lab })
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon")
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon")?;
        daemon.signal(signal)?;
        let status = daemon.wait()?;
        ensure!(signal == Signal::SIGKILL || status.success(), "{status}: {}", daemon.log());
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::run(&self.lab, &self.lab.directory().join("lb.toml"))?);
        Ok(())
    }

    fn configure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let config = self.lab.directory().join("lb.toml");
        Ok(fs::write(&config, change(fs::read_to_string(&config)?))?)
    }

    /// Everything that was open is, and new connections can be opened.
    fn goes_on(&mut self) -> Result<()> {
        self.talks.iter_mut().try_for_each(Talk::echo)?;
        self.opens()?;
        self.bulk.makes_progress()?;
        ensure!(self.resets()? == 0, "the host's own TCP saw steered packets");
        Ok(())
    }

    fn opens(&mut self) -> Result<()> {
        for vip in vips(PORT) {
            self.lab.client.within(|| tcp_echo(vip, "hello"))??;
            self.opened += 1;
        }
        Ok(())
    }

    /// Resets that the balancer's own TCP sent.
    fn resets(&self) -> Result<u64> {
        let table = self.lab.lb.within(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = lines.next().zip(lines.next()).context("no TCP in snmp")?;
        let mut fields = names.split(' ').zip(values.split(' '));
        let resets = fields.find(|(name, _)| *name == "OutRsts").context("no OutRsts")?;
        Ok(resets.1.parse()?)
    }

    /// Every count is what is open: the bulk transfer's two connections and the quiet ones.
    fn counts(&self) -> Result<Status> {
        let open = 2 + self.talks.len() as u64;
        let daemon = self.daemon()?;
        let what = format!("{open} connections are live");
        let status = daemon.when(&what, |status| live(status) == open)?;
        let connections = |name: &str| status.service(name).map(Service::connections);
        assert_eq!(connections("tcp"), Some(self.opened), "{status:?}");
        assert_eq!(connections("iperf-tcp"), Some(2), "{status:?}");
        Ok(status)
    }

    fn program_id(&self, interface: &str) -> Result<String> {
        let link = self.lab.lb.ip(&format!("-details link show {interface}"))?;
        let words: Vec<_> = link.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "prog/xdp").context("no program")?;
        Ok(words[at + 2].to_owned())
    }

    /// Ends all connections: every count is 0 then.
    fn close(self) -> Result<()> {
        let Self { bulk, talks, daemon, lab, servers, .. } = self;
        drop((bulk, talks));
        let daemon = daemon.context("no daemon")?;
        daemon.when_quiet()?;
        daemon.stop()?;
        drop((servers, lab));
        Ok(())
    }
}

/// Live connections, each server counted once: several services may share it.
fn live(status: &Status) -> u64 {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    let counts = backends.map(|backend| (&backend.address, backend.live));
    counts.collect::<BTreeMap<_, _>>().values().sum()
}

/// iperf3's, an echo and a web server that is steered and proxied to, on the first `count` backends.
fn services(lab: &Lab, count: &usize) -> String {
    let on = |port| {
        let all = servers::addresses(lab, port);
        let (v4, v6) = all.split_at(lab.backends.len());
        [&v4[v4.len() - count..], &v6[v6.len() - count..]].concat()
    };
    [
        "[proxy]\ndrain_timeout = \"1ms\"\n",
        &iperf::services(lab),
        &steered("tcp", "tcp", PORT, &on(servers::TCP)),
        &steered("web", "tcp", WEB, &on(servers::HTTP)),
        &service(
            "proxied",
            "tcp",
            &format!("port = {PROXIED}, handlers = [\"http\"]"),
            &on(servers::HTTP),
        ),
    ]
    .concat()
}

#[test]
fn a_crash_loop_loses_no_connection_and_no_count() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.goes_on()?;
    let mut before = scene.counts()?;
    for round in 0..10 {
        scene.end(Signal::SIGKILL)?;
        // Every other time something happens that no daemon sees.
        if round % 2 == 0 {
            scene.goes_on().context("without a daemon")?;
        }
        scene.start()?;
        scene.goes_on().with_context(|| format!("round {round}"))?;
        let after = scene.counts()?;
        assert!(after.verdicts.steer > before.verdicts.steer, "{before:?}\n{after:?}");
        before = after;
    }
    scene.close()
}

#[test]
fn an_orderly_restart_loses_nothing_either() -> Result<()> {
    let mut scene = Scene::up()?;
    let before = scene.counts()?;
    let program = scene.program_id("up0")?;
    scene.end(Signal::SIGTERM)?;
    scene.goes_on().context("without a daemon")?;
    assert_eq!(scene.program_id("up0")?, program);
    scene.start()?;
    assert_ne!(scene.program_id("up0")?, program, "the new one's program is in its place");
    scene.goes_on()?;
    let after = scene.counts()?;
    assert!(after.verdicts.steer > before.verdicts.steer, "{before:?}\n{after:?}");
    // Everything was as it should be: no table was written to.
    let log = scene.daemon()?.log();
    assert!(log.contains("going on with") && !log.contains("anew"), "{log}");
    scene.close()
}

/// `cargo xtask test` builds it: the kernel program of this one also writes a log.
const OTHER_BUILD: &str = "lb-kernel-log";

#[test]
fn an_upgrade_to_another_build_and_back_loses_nothing() -> Result<()> {
    let mut scene = Scene::up()?;
    for other in [OTHER_BUILD, "lb", OTHER_BUILD] {
        scene.end(Signal::SIGTERM)?;
        let config = scene.lab.directory().join("lb.toml");
        scene.daemon = Some(Daemon::run_as(&program(other)?, &scene.lab, &config)?);
        scene.goes_on().context(other)?;
        scene.counts().context(other)?;
    }
    scene.close()
}

#[test]
fn connections_of_a_killed_proxy_are_taken_out_of_the_counts() -> Result<()> {
    let mut scene = Scene::up()?;
    let url = |vip: IpAddr, port| format!("http://{}/hold", SocketAddr::new(vip, port));
    let steered = [VIP4.into(), VIP6.into()].map(|vip| (Vec::new(), url(vip, WEB)));
    let proxied = [VIP4.into(), VIP6.into()].map(|vip| (Vec::new(), url(vip, PROXIED)));
    let steered = hold(&scene.lab, 3, &steered)?;
    let proxied = hold(&scene.lab, 5, &proxied)?;
    let held = |status: &Status| status.service("proxied").map_or(0, Service::live);
    let status = scene.daemon()?.status()?;
    assert_eq!(held(&status), 16, "of the same servers: {status:?}");
    scene.end(Signal::SIGKILL)?;
    scene.start()?;
    let status = scene.daemon()?.status()?;
    assert_eq!(held(&status), 6, "at the first look: {status:?}");
    scene.goes_on()?;
    drop((steered, proxied));
    scene.counts()?;
    scene.close()
}

#[test]
fn a_server_that_left_keeps_its_connections() -> Result<()> {
    let mut scene = Scene::up()?;
    let url = |vip: IpAddr| format!("http://{}/hold", SocketAddr::new(vip, WEB));
    let held = hold(&scene.lab, 12, &[VIP4.into(), VIP6.into()].map(|vip| (Vec::new(), url(vip))))?;
    let leaving = scene.lab.backends[0].name.clone();
    ensure!(held.iter().any(|held| held.server == leaving), "none is at {leaving}");
    scene.end(Signal::SIGTERM)?;
    let all = services(&scene.lab, &3);
    let fewer = services(&scene.lab, &2);
    let ring = "[node]\nmaglev_table_size = 1021";
    scene.configure(|config| config.replace(&all, &fewer).replace("[node]", ring))?;
    scene.start()?;
    // The operator is told that new flows are placed anew, and what would not do that.
    let log = scene.daemon()?.log();
    let told = ["service=tcp from=8192 to=1021", "`maglev_table_size = 8192`"];
    let is_told = |line: &str| told.iter().all(|part| line.contains(part));
    assert!(log.lines().any(is_told), "{log}");
    for _ in 0..20 {
        for vip in vips(PORT) {
            let name = scene.lab.client.within(|| tcp_echo(vip, "hello"))??;
            assert_ne!(name, leaving);
        }
    }
    // Through another restart, too: by then nothing speaks of it but its flows.
    scene.end(Signal::SIGKILL)?;
    scene.start()?;
    for backend in &scene.lab.backends {
        let url = format!("http://127.0.0.1:{}/release", servers::HTTP);
        lb_tests::client::curl(&backend.netns, &[&url])?;
    }
    held.into_iter().try_for_each(lb_tests::held::Held::finish)
}

#[test]
fn a_restart_brings_no_dead_server_back() -> Result<()> {
    let mut scene = Scene::up()?;
    let threshold = |count: u32| {
        format!("health_check = {{ interval = \"100ms\", unhealthy_threshold = {count} }}\n")
    };
    scene.end(Signal::SIGTERM)?;
    scene.configure(|config| {
        config.replace(
            "load_balancer.servers",
            &format!("load_balancer.{}load_balancer.servers", threshold(1)),
        )
    })?;
    scene.start()?;
    let dead = scene.lab.backends[2].name.clone();
    scene.servers[2].stop()?;
    let ups = |status: &Status| {
        status.service("tcp").map_or(0, |s| s.backends.iter().filter(|b| b.up).count())
    };
    scene.daemon()?.when("two of its addresses are down", |status| ups(status) == 4)?;
    scene.end(Signal::SIGKILL)?;
    // From now on it would take hours to find out that it is dead.
    scene.configure(|config| config.replace(&threshold(1), &threshold(1000)))?;
    scene.start()?;
    assert_eq!(ups(&scene.daemon()?.status()?), 4);
    for _ in 0..30 {
        for vip in vips(PORT) {
            let name = scene.lab.client.within(|| tcp_echo(vip, "hello"))??;
            assert_ne!(name, dead);
        }
    }
    scene.servers[2] = servers::start(&scene.lab, &scene.lab.backends[2])?;
    scene.daemon()?.when("it is back", |status| ups(status) == 6)?;
    Ok(())
}

/// What cannot go on is replaced under running traffic: new connections are always taken.
fn replaces(scene: &mut Scene, told: &str) -> Result<()> {
    let lab = &scene.lab;
    let config = lab.directory().join("lb.toml");
    let before = scene.program_id("up0")?;
    let opening = std::sync::atomic::AtomicBool::new(true);
    let opened = std::thread::scope(|scope| {
        let clients = scope.spawn(|| -> Result<u64> {
            let mut opened = 0;
            while opening.load(std::sync::atomic::Ordering::Relaxed) {
                for vip in vips(PORT) {
                    // A handshake that the change catches halfway is begun again by the client's
                    // TCP. A refusal would be an interface without a program.
                    lab.client.within(|| connects(vip))?.with_context(|| format!("{vip}"))?;
                    opened += 1;
                }
            }
            Ok(opened)
        });
        let daemon = Daemon::run(lab, &config);
        opening.store(false, std::sync::atomic::Ordering::Relaxed);
        let opened = clients.join().expect("clients do not panic");
        daemon.map(|daemon| scene.daemon = Some(daemon))?;
        opened
    })?;
    assert!(opened > 0);
    let log = scene.daemon()?.log();
    assert!(log.contains(told), "no {told:?} in {log}");
    assert_ne!(scene.program_id("up0")?, before);
    // Flows of the old table are gone: what backends still send for them is nobody's. (So resets
    // towards backends are right here; one towards a client would have ended the loop above.)
    Talk::open(&scene.lab.client, vips(PORT)[0])?.echo()?;
    let daemon = scene.daemon.take().context("no daemon")?;
    daemon.stop()
}

fn connects(vip: SocketAddr) -> std::io::Result<()> {
    std::net::TcpStream::connect_timeout(&vip, lb_tests::process::PATIENCE).map(drop)
}

#[test]
fn tables_of_another_version_are_replaced_under_traffic() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.end(Signal::SIGTERM)?;
    let version = lb_common::abi::ABI_VERSION;
    let [ours, theirs]: [PathBuf; 2] =
        [version, 0].map(|version| pins(scene.lab.tag()).join(format!("v{version}")));
    fs::rename(&ours, &theirs)?;
    replaces(&mut scene, "another ABI version")?;
    assert!(ours.exists() && !theirs.exists());
    Ok(())
}

#[test]
fn a_flow_table_of_another_size_is_replaced_under_traffic() -> Result<()> {
    let mut scene = Scene::up()?;
    let before = scene.counts()?;
    scene.end(Signal::SIGTERM)?;
    scene.configure(|config| config.replace("[node]", "[node]\nmax_flows = 4096"))?;
    replaces(&mut scene, "the flow table starts empty")?;
    scene.start()?;
    let after = scene.daemon()?.status()?;
    assert_eq!(after.flows.max, 4096);
    assert!(after.verdicts.steer > before.verdicts.steer, "counters go on");
    Ok(())
}

#[test]
fn torn_and_lost_notes_lose_no_connection() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.end(Signal::SIGKILL)?;
    // All but the end of a line: that index 0 is nobody's never happened.
    let state = scene.lab.directory().join("state");
    let mut log = fs::File::options().append(true).open(state.join("ids.log"))?;
    log.write_all(br#"[{"backend":[0,null]},{"service":[0,null]}]"#)?;
    scene.start()?;
    scene.goes_on()?;
    scene.counts()?;
    scene.end(Signal::SIGKILL)?;
    fs::remove_file(state.join("ids.json"))?;
    scene.start()?;
    scene.goes_on()?;
    // The tables tell as well, of all that has a place in a ring.
    scene.counts()?;
    scene.close()
}
