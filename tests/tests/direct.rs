//! Backends that answer clients directly, and what befalls them and us: crashes, drains, deaths,
//! floods and narrow links. The balancer sees the client's half of each connection only.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, curl, header},
        crowd::Crowd,
        flood::Flood,
        iperf, servers,
        talk::Talk,
    },
    daemon::{
        direct::{self, Backends},
        process::{self, Daemon},
        status::{Service, Status},
    },
    lab::{
        far_client,
        process::poll,
        topology::{Lab, VIP4, VIP6, vips},
    },
};
use nix::sys::signal::Signal;

const NODE: &str = "max_half_open = 1024\n\
     flow_timeouts = { half_open = '2s', closing = '1s', closed = '1s' }";
/// Long enough to be sure of it on a busy machine, short enough to wait for.
const CHECK: &str = "load_balancer.health_check = { interval = \"200ms\", timeout = \"1s\", \
     unhealthy_threshold = 2, healthy_threshold = 1 }\n";
/// Above this many a second from sources that nobody knows, they are challenged.
const CHALLENGE: &str = "syn_flood = { threshold = 500 }\n";
/// Connections of each kind: enough that every backend has some.
const HELD: usize = 24;
const LEAVING: &str = "b2";
const DYING: &str = "b3";

struct Scene {
    bulk: iperf::Running,
    /// Lines and their echoes: what becomes of a dead backend's is the default, a reset.
    held: Vec<Talk>,
    /// Requests one after the other: those of a dead backend move.
    webs: Vec<Web>,
    /// Flows that were ever opened through the service `tcp`.
    opened: u64,
    daemon: Option<Daemon>,
    _backends: Backends,
    lab: Lab,
}

/// A kept HTTP connection.
struct Web {
    stream: Stream,
    server: String,
}

impl Web {
    fn open(lab: &Lab, to: SocketAddr) -> Result<Self> {
        let stream = lab.client.within(|| Stream::connect(to))??;
        let mut web = Self { stream, server: String::new() };
        web.server = web.ask()?;
        Ok(web)
    }

    fn ask(&mut self) -> Result<String> {
        let head = self.stream.ask("HEAD / HTTP/1.1\r\nHost: any\r\n\r\n")?;
        Ok(header(&head, "x-backend").context("a name")?.to_owned())
    }
}

impl Scene {
    fn up(mode: &str, decap: &[&str]) -> Result<Self> {
        let lab = Lab::up()?;
        let backends = Backends::up(&lab, mode, decap)?;
        let service = |name, port| {
            direct::steered(mode, name, "tcp", &servers::addresses(&lab, port)) + CHECK
        };
        let services = [
            direct::steered(mode, "bulk", "tcp", &iperf::addresses(&lab)),
            service("tcp", servers::TCP),
            service("web", servers::HTTP) + "on_backend_down = \"move\"\n" + CHALLENGE,
        ];
        let daemon = Daemon::start_with(&lab, NODE, &services.concat())?;
        let bulk = iperf::Running::start(&lab, VIP4.into())?;
        let web = |to| Web::open(&lab, to);
        let webs = vips(servers::HTTP).into_iter().cycle().take(HELD).map(web);
        let webs = webs.collect::<Result<_>>()?;
        let (daemon, _backends, held) = (Some(daemon), backends, Vec::new());
        let mut scene = Self { bulk, held, webs, opened: 0, daemon, _backends, lab };
        scene.hold(HELD)?;
        Ok(scene)
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon")
    }

    /// More connections that stay.
    fn hold(&mut self, count: usize) -> Result<&[Talk]> {
        let before = self.held.len();
        for to in vips(servers::TCP).into_iter().cycle().take(count) {
            self.held.push(Talk::open(&self.lab.client, to)?);
        }
        self.opened += count as u64;
        Ok(&self.held[before..])
    }

    /// Short connections that are all answered, and who answered.
    fn visits(&mut self, port: u16, count: usize) -> Result<Crowd> {
        let crowd = self.lab.client.within(|| Crowd::of(&vips(port), count))?;
        ensure!(crowd.failures.is_empty(), "{:?}", crowd.failures);
        self.opened += count as u64;
        Ok(crowd)
    }

    /// Everything that was open is, at the same server.
    fn goes_on(&mut self) -> Result<()> {
        self.held.iter_mut().try_for_each(Talk::echo)?;
        for web in &mut self.webs {
            let now = web.ask()?;
            ensure!(now == web.server, "{now} answers for {}", web.server);
        }
        self.bulk.makes_progress()
    }

    /// Connections that are open: the bulk transfer has two.
    fn open(&self) -> u64 {
        2 + (self.held.len() + self.webs.len()) as u64
    }

    /// Waits until just those count.
    fn settles(&self) -> Result<Status> {
        let open = self.open();
        let status =
            self.daemon()?.when(&format!("{open} are live"), |status| status.live() == open)?;
        let opened = status.service("tcp").map(Service::connections);
        ensure!(opened == Some(self.opened), "{} were opened: {status:?}", self.opened);
        for reason in ["inconsistent", "no_headroom", "no_route", "unknown_flow"] {
            ensure!(status.dropped(reason) == 0, "{reason}: {status:?}");
        }
        Ok(status)
    }

    /// `kill -9` and a start, twice; once with new connections in between that no daemon sees.
    fn survives_crashes(&mut self) -> Result<()> {
        self.settles()?;
        for round in 0..2 {
            let mut daemon = self.daemon.take().context("no daemon")?;
            daemon.signal(Signal::SIGKILL)?;
            daemon.wait()?;
            if round > 0 {
                self.hold(6)?;
                self.goes_on().context("without a daemon")?;
            }
            self.daemon = Some(Daemon::run(&self.lab, &self.lab.directory().join("lb.toml"))?);
            let live = self.daemon()?.status()?.live();
            ensure!(live == self.open(), "{live} at the first look, {} are open", self.open());
            self.goes_on().with_context(|| format!("round {round}"))?;
        }
        println!("{} held over two crashes", self.settles()?.live());
        Ok(())
    }

    /// `lb drain` for the servers of one backend.
    fn drain(&self, flags: &[&str]) -> Result<()> {
        let leaving = self.lab.backends.iter().find(|it| it.name == LEAVING).context("it")?;
        for address in leaving.addresses() {
            let server = SocketAddr::new(address, servers::TCP);
            let (done, said) = process::drain(&self.lab, "tcp", server, flags)?;
            ensure!(done, "{said}");
        }
        Ok(())
    }

    fn survives_a_drain(&mut self) -> Result<()> {
        self.drain(&[])?;
        let crowd = self.visits(servers::TCP, 60)?;
        ensure!(!crowd.answered.contains_key(LEAVING), "{crowd:?}");
        self.goes_on()?;
        self.settles()?;
        self.drain(&["--deadline", "10ms"])?;
        let left = self.loses(LEAVING)?;
        self.settles()?;
        self.goes_on()?;
        self.drain(&["--undo"])?;
        let back = self.visits(servers::TCP, 60)?;
        ensure!(back.answered.contains_key(LEAVING), "{back:?}");
        println!("{left} drained away past their deadline");
        self.settles().map(drop)
    }

    /// Lets go of the lines to a backend that gets nothing any more: all are reset, by us.
    fn loses(&mut self, name: &str) -> Result<u64> {
        let before = self.daemon()?.status()?.dropped("backend_gone");
        let held = std::mem::take(&mut self.held).into_iter();
        let (lost, held): (Vec<_>, Vec<_>) = held.partition(|talk| talk.server == name);
        self.held = held;
        let count = lost.len() as u64;
        ensure!(count > 0, "{name} had none");
        for mut talk in lost {
            let mut error = None;
            poll("it is reset", || {
                // What follows the first segment must open nothing.
                error = talk.echo_long(12_000).err();
                Ok(error.is_some())
            })?;
            let error = error.as_ref().context("a reset")?;
            let io = error.root_cause().downcast_ref::<std::io::Error>();
            ensure!(io.is_some_and(|it| it.kind() == ErrorKind::ConnectionReset), "{error:#}");
        }
        let reset = self.daemon()?.status()?.dropped("backend_gone") - before;
        ensure!(reset >= count, "{reset} resets for {count} connections");
        Ok(count)
    }

    /// Forged SYNs for a service without a challenge and for one with it.
    fn survives_a_flood(&mut self) -> Result<()> {
        const RATE: u64 = 20_000;
        const FORGED: u64 = 3_000;
        let before = self.daemon()?.status()?;
        let to = [vips(servers::TCP), vips(servers::HTTP)].concat();
        let flood = Flood::start(&self.lab, &to, RATE)?;
        self.daemon()?.when("half-open flows give way", |status| {
            status.flows.evicted_half_open > before.flows.evicted_half_open + FORGED
                && status.dropped("challenged") > before.dropped("challenged") + FORGED
        })?;
        self.goes_on()?;
        self.visits(servers::TCP, 100)?;
        for vip in vips(servers::HTTP) {
            let answer = curl(&self.lab.client, &[&format!("http://{vip}/")])?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        let sent = flood.stop()?;
        self.goes_on()?;
        // Forged flows are forgotten, and what is open counts.
        let open = self.open();
        let after = self.daemon()?.when("the flood is over", |status| status.live() == open)?;
        ensure!(after.dropped("challenge_passed") >= 2, "{after:?}");
        ensure!(after.flows.evicted == before.flows.evicted, "established flows gave way");
        self.opened = after.service("tcp").map_or(0, Service::connections);
        let gave_way = after.flows.evicted_half_open - before.flows.evicted_half_open;
        println!("{} forged SYNs: {gave_way} half-open flows gave way", sent.packets);
        Ok(())
    }

    /// A backend goes off the network: nobody says a word of its connections but us.
    fn survives_a_death(&mut self) -> Result<()> {
        self.lab.fabric.ip(&format!("link set {DYING} down"))?;
        let dying = self.lab.backends.iter().find(|it| it.name == DYING).context("it")?;
        let dying = dying.addresses().map(|it| SocketAddr::new(it, 0).to_string());
        let [v4, v6] = dying.map(|it| it[..it.len() - 1].to_owned());
        let up = |status: &Status, wanted: bool| {
            let servers = status.services.iter().filter(|it| it.name != "bulk");
            let mut servers = servers.flat_map(|it| &it.backends);
            let is_dying = |it: &str| it.starts_with(&v4) || it.starts_with(&v6);
            servers.all(|it| it.up == (wanted || !is_dying(&it.address)))
        };
        self.daemon()?.when("it is down", |status| up(status, false))?;
        let reset = self.loses(DYING)?;
        let moved = self.moves()?;
        self.goes_on()?;
        let crowd = self.visits(servers::TCP, 60)?;
        ensure!(!crowd.answered.contains_key(DYING), "{crowd:?}");
        self.settles()?;
        self.lab.fabric.ip(&format!("link set {DYING} up"))?;
        self.daemon()?.when("it is up", |status| up(status, true))?;
        poll("it gets new ones", || {
            Ok(self.visits(servers::TCP, 30)?.answered.contains_key(DYING))
        })?;
        println!("{reset} reset, {moved} moved");
        self.settles().map(drop)
    }

    /// Requests to the dead backend go to another, which knows nothing of the connection and says
    /// so to the client itself.
    fn moves(&mut self) -> Result<u64> {
        let before = self.daemon()?.status()?;
        let webs = std::mem::take(&mut self.webs).into_iter();
        let (lost, webs): (Vec<_>, Vec<_>) = webs.partition(|web| web.server == DYING);
        self.webs = webs;
        let count = lost.len() as u64;
        ensure!(count > 0, "it had none");
        for mut web in lost {
            let error = web.ask().err().context("a reset")?;
            let io = error.root_cause().downcast_ref::<std::io::Error>();
            ensure!(io.is_some_and(|it| it.kind() == ErrorKind::ConnectionReset), "{error:#}");
        }
        let after = self.daemon()?.status()?;
        let opened = |it: &Status| it.service("web").map_or(0, Service::connections);
        ensure!(opened(&after) == opened(&before) + count, "{count}: {before:?} {after:?}");
        ensure!(after.dropped("backend_gone") == before.dropped("backend_gone"), "we reset some");
        Ok(count)
    }

    /// A router before the client complains of an answer that went past us. Its complaint comes to
    /// us, and is for the backend whose packet it quotes.
    fn finds_a_narrow_link(&mut self) -> Result<()> {
        const BYTES: usize = 1_000_000;
        let far = far_client::start(&self.lab)?;
        for backend in &self.lab.backends {
            backend.netns.ip("route add 10.104.0.0/24 via 10.103.0.2 dev eth0 onlink")?;
            backend.netns.ip("-6 route add fd65:4::/64 via fd65:3::2 dev eth0 onlink")?;
        }
        let ends = [(IpAddr::from(VIP4), far_client::FAR4), (VIP6.into(), far_client::FAR6)];
        for (vip, client) in ends {
            let url = format!("http://{}/bytes/{BYTES}", SocketAddr::new(vip, servers::HTTP));
            let answer = curl(&far, &[&url])?;
            ensure!(answer.body.len() == BYTES, "{vip}: {} bytes", answer.body.len());
            let learnt = self.lab.backends.iter();
            let learnt = learnt.map(|it| it.netns.ip(&format!("route get {client} from {vip}")));
            let learnt = learnt.collect::<Result<String>>()?;
            ensure!(learnt.contains(&format!("mtu {}", far_client::MTU)), "{vip}: {learnt}");
        }
        ensure!(self.daemon()?.status()?.dropped("icmp_unknown_flow") == 0);
        self.settles().map(drop)
    }

    /// Ends all connections: every count is 0 then.
    fn end(self) -> Result<()> {
        let Self { bulk, held, webs, daemon, lab, .. } = self;
        bulk.abort(&lab)?;
        drop((held, webs));
        let daemon = daemon.context("no daemon")?;
        let gone = daemon.when("no count and no flow is left", |status| {
            status.live() == 0 && status.flows.live == 0
        })?;
        ensure!(gone.services.iter().flat_map(|it| &it.backends).all(|it| it.live == 0));
        ensure!(!daemon.log().contains("drifted"), "{}", daemon.log());
        daemon.stop()
    }
}

fn lives_through_all(mode: &str, decap: &[&str]) -> Result<()> {
    let mut scene = Scene::up(mode, decap)?;
    scene.goes_on()?;
    scene.survives_crashes().context("crashes")?;
    scene.survives_a_drain().context("a drain")?;
    scene.survives_a_flood().context("a flood")?;
    scene.survives_a_death().context("a death")?;
    scene.finds_a_narrow_link().context("a narrow link")?;
    scene.end()
}

#[test]
fn l2() -> Result<()> {
    lives_through_all("l2", &[])
}

/// Over both families' tunnels: clients of each go to servers of both.
#[test]
fn ipip() -> Result<()> {
    lives_through_all("ipip", &["--from", "172.16.0.0/16", "100::/64"])
}

#[test]
fn gue() -> Result<()> {
    lives_through_all("gue", &["--from", "10.102.0.1", "fd65:2::1"])
}
