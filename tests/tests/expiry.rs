//! Flows that end without a word: they are forgotten, and the live counts come back to 0.

use std::net::TcpStream;

use anyhow::{Result, ensure};
use lb_tests::{
    client::{tcp_echo, udp_echo},
    config::steered,
    daemon::Daemon,
    process::{PATIENCE, Process, output},
    servers,
    topology::{Lab, vips},
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;
const HELD: usize = 20;
/// Short enough to watch.
const TIMEOUTS: &str = "flow_timeouts = { half_open = \"2s\", established = \"4s\", closed = \"1s\", \
                        udp_answered = \"1h\" }";
/// Of the service `udp` alone.
const UDP_TIMEOUTS: &str = "flow_timeouts.udp_answered = \"2s\"\n";

struct Scene {
    daemon: Daemon,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Scene {
    fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP))
            + &steered("udp", "udp", PORT, &servers::addresses(&lab, servers::UDP))
            + UDP_TIMEOUTS;
        let daemon = Daemon::start_with(&lab, TIMEOUTS, &services)?;
        Ok(Self { daemon, _servers: servers, lab })
    }

    /// Connections that were answered, and are seen as live.
    fn hold(&self) -> Result<Vec<TcpStream>> {
        let connect = || {
            let vips = vips(PORT).into_iter().cycle().take(HELD);
            let open = vips.map(|vip| TcpStream::connect_timeout(&vip, PATIENCE));
            open.collect::<std::io::Result<Vec<_>>>()
        };
        let held = self.lab.client.within(connect)??;
        self.daemon.when("they are live", |status| status.live() == HELD as u64)?;
        Ok(held)
    }

    /// All is forgotten, and a client that comes now is served.
    fn end(self) -> Result<()> {
        self.daemon.when("no count and no flow is left", |status| {
            status.live() == 0 && status.flows.live == 0
        })?;
        for vip in vips(PORT) {
            self.lab.client.within(|| tcp_echo(vip, "hello"))??;
        }
        self.daemon.when_quiet()?;
        ensure!(!self.daemon.log().contains("drifted"), "{}", self.daemon.log());
        self.daemon.stop()
    }
}

/// Nothing leaves the client any more, least of all a FIN.
const SILENCE: &str = "add table inet silence; \
     add chain inet silence out { type filter hook output priority 0; policy drop; }";

#[test]
fn connections_of_a_client_that_falls_silent_are_forgotten() -> Result<()> {
    let scene = Scene::up()?;
    let held = scene.hold()?;
    output(scene.lab.client.command("nft").arg(SILENCE))?;
    drop(held);
    scene.daemon.when("no count and no flow is left", |status| {
        status.live() == 0 && status.flows.live == 0
    })?;
    output(scene.lab.client.command("nft").args(["delete", "table", "inet", "silence"]))?;
    scene.end()
}

#[test]
fn connections_over_a_link_that_breaks_are_forgotten() -> Result<()> {
    let scene = Scene::up()?;
    let held = scene.hold()?;
    scene.lab.client.ip("link set eth0 down")?;
    drop(held);
    scene.daemon.when("no count and no flow is left", |status| {
        status.live() == 0 && status.flows.live == 0
    })?;
    scene.lab.client.ip("link set eth0 up")?;
    // Taking the link down took these along.
    scene.lab.client.ip("addr replace fd65:1::2/64 dev eth0 nodad")?;
    scene.lab.client.ip("route replace default via 10.101.0.1")?;
    scene.lab.client.ip("-6 route replace default via fd65:1::1")?;
    scene.end()
}

#[test]
fn connections_of_a_killed_process_are_counted_out() -> Result<()> {
    let scene = Scene::up()?;
    let mut clients = Vec::new();
    for number in 0..HELD {
        let vip = vips(PORT)[number % 2];
        let log = scene.lab.directory().join(format!("client-{number}.log"));
        let mut command = scene.lab.client.command("bash");
        let (address, port) = (vip.ip(), vip.port());
        command.arg("-c").arg(format!(
            "exec 3<>/dev/tcp/{address}/{port}; while echo hi >&3; do sleep 0.2; done"
        ));
        clients.push(Process::start("client", command, &log)?);
    }
    scene.daemon.when("they are live", |status| status.live() == HELD as u64)?;
    for client in &mut clients {
        client.signal(Signal::SIGKILL)?;
        client.wait()?;
    }
    scene.end()
}

#[test]
fn a_syn_that_nobody_answers_is_forgotten() -> Result<()> {
    let scene = Scene::up()?;
    for backend in &scene.lab.backends {
        output(backend.netns.command("nft").arg(SILENCE))?;
    }
    let vip = vips(PORT)[0];
    let refused = scene.lab.client.within(|| TcpStream::connect_timeout(&vip, PATIENCE / 60))?;
    assert!(refused.is_err(), "{refused:?}");
    for backend in &scene.lab.backends {
        output(backend.netns.command("nft").args(["delete", "table", "inet", "silence"]))?;
    }
    assert!(scene.daemon.status()?.services[0].connections() > 0);
    scene.end()
}

#[test]
fn silent_datagram_flows_are_forgotten() -> Result<()> {
    let scene = Scene::up()?;
    let sockets = scene.lab.client.within(|| {
        let vips = vips(PORT).into_iter().cycle().take(HELD);
        vips.map(|vip| udp_echo(vip, "hello")).collect::<Result<Vec<_>>>()
    })??;
    assert!(scene.daemon.status()?.service("udp").is_some_and(|udp| udp.connections() >= 20));
    scene.daemon.when("no count and no flow is left", |status| {
        status.live() == 0 && status.flows.live == 0
    })?;
    // The same sockets begin anew.
    for (_, socket) in &sockets {
        socket.send(b"again")?;
    }
    scene.daemon.when("they are live again", |status| status.live() == HELD as u64)?;
    scene.end()
}
