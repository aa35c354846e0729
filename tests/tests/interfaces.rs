//! Several NICs, by name and by pattern, that come and go under traffic.

use std::fs;

use anyhow::{Context as _, Result};
use lb_tests::{
    client::tcp_echo,
    config::steered,
    daemon::{self, Daemon, preamble},
    far_end, iperf,
    netns::Netns,
    process::{Process, poll},
    servers,
    status::Status,
    talk::Talk,
    topology::{Lab, VIP4, vips},
};

const PORT: u16 = 9000;

struct Scene {
    daemon: Daemon,
    _servers: Vec<Process>,
    second: Netns,
    lab: Lab,
}

impl Scene {
    /// With `interfaces` in the configuration, in the syntax of TOML.
    fn up(interfaces: &str, prepare: impl FnOnce(&Lab, &Netns) -> Result<()>) -> Result<Self> {
        let lab = Lab::up()?;
        let second = lab.second_client()?;
        let mut servers = servers::start_all(&lab)?;
        servers.push(iperf::serve(&lab)?);
        prepare(&lab, &second)?;
        let node = preamble(&lab).replace("\"up0\", \"down0\"", interfaces);
        let services = iperf::services(&lab)
            + &steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
        let config = lab.directory().join("lb.toml");
        fs::write(&config, node + &services)?;
        let daemon = Daemon::run(&lab, &config)?;
        Ok(Self { daemon, _servers: servers, second, lab })
    }

    /// Waits until the daemon says that exactly these carry the program.
    fn carry(&self, expected: &[&str]) -> Result<Status> {
        self.daemon
            .when(&format!("{expected:?} carry the program"), |status| names(status) == expected)
    }

    /// Both families reach the service from `client`.
    fn serves(&self, client: &Netns) -> Result<()> {
        for vip in vips(PORT) {
            client.within(|| tcp_echo(vip, "hello"))?.with_context(|| format!("{vip}"))?;
        }
        Ok(())
    }
}

fn has_xdp(lab: &Lab, interface: &str) -> Result<bool> {
    let link = lab.lb.ip(&format!("-details link show {interface}"))?;
    Ok(link.contains("prog/xdp"))
}

fn names(status: &Status) -> Vec<&str> {
    status.interfaces.iter().map(|interface| interface.name.as_str()).collect()
}

#[test]
fn a_client_on_each_side_reaches_the_same_address() -> Result<()> {
    let scene = Scene::up("\"up*\", \"down0\"", |lab, second| lab.plug(second, "up1"))?;
    let status = scene.carry(&["up0", "up1", "down0"])?;
    assert!(status.interfaces.iter().all(|interface| interface.mode == "native"), "{status:?}");
    for client in [&scene.lab.client, &scene.second] {
        scene.serves(client)?;
    }
    let status = scene.daemon.status()?;
    assert_eq!(status.service("tcp").context("tcp")?.connections(), 4, "all of them steered");
    assert_eq!(status.dropped_in_all(), 0, "{status:?}");
    scene.daemon.stop()
}

/// veth takes native programs up to an MTU of 3506.
#[test]
fn one_without_native_xdp_falls_back_and_redirects_to_those_with() -> Result<()> {
    let scene = Scene::up("\"up*\", \"down0\"", |lab, second| {
        lab.plug(second, "up1")?;
        second.ip("link set eth0 mtu 9000")?;
        lab.lb.ip("link set up1 mtu 9000").map(drop)
    })?;
    let status = scene.carry(&["up0", "up1", "down0"])?;
    let modes: Vec<&str> = status.interfaces.iter().map(|it| it.mode.as_str()).collect();
    assert_eq!(modes, ["native", "generic", "native"]);
    let log = scene.daemon.log();
    let mut warnings = log.lines().filter(|line| line.contains("falling back to generic XDP"));
    let warning = warnings.next().context("no warning")?;
    assert!(warning.contains("up1") && warning.contains("MTU"), "{warning}");
    assert_eq!(warnings.next(), None, "{log}");
    for client in [&scene.lab.client, &scene.second] {
        scene.serves(client)?;
    }
    let status = scene.daemon.status()?;
    assert_eq!(status.service("tcp").context("tcp")?.connections(), 4, "all of them steered");
    assert_eq!(status.dropped_in_all(), 0, "{status:?}");
    scene.daemon.stop()
}

#[test]
fn a_nic_comes_and_goes_under_traffic() -> Result<()> {
    let scene = Scene::up("\"up?\", \"down*\"", |_, _| Ok(()))?;
    let mut bulk = iperf::Running::start(&scene.lab, VIP4.into())?;
    let mut quiet = Talk::open(&scene.lab.client, vips(PORT)[1])?;
    for _ in 0..2 {
        scene.carry(&["up0", "down0"])?;
        scene.lab.plug(&scene.second, "up1")?;
        scene.carry(&["up0", "up1", "down0"])?;
        assert!(has_xdp(&scene.lab, "up1")?);
        for key in ["net/ipv4/conf/up1/forwarding", "net/ipv6/conf/up1/forwarding"] {
            poll("it forwards", || Ok(scene.lab.lb.sysctl(key)? == "1"))?;
        }
        scene.serves(&scene.second)?;
        scene.lab.lb.ip("link del up1")?;
        scene.carry(&["up0", "down0"])?;
        bulk.makes_progress()?;
        quiet.echo()?;
    }
    let log = scene.daemon.log();
    assert_eq!(log.matches("let go of").count(), 2, "{log}");
    drop((bulk, quiet));
    scene.daemon.when_quiet()?;
    // Nothing of the one that is gone is left, neither in the bpffs nor in the notes.
    scene.daemon.stop()?;
    let said = daemon::detach(&scene.lab)?;
    assert_eq!(said.matches("(native)").count(), 2, "{said}");
    Ok(())
}

#[test]
fn one_that_comes_while_no_daemon_runs_is_taken_in_at_the_start() -> Result<()> {
    let mut scene = Scene::up("\"up0\", \"up1\", \"down0\"", |_, _| Ok(()))?;
    let log = scene.daemon.log();
    assert!(log.contains("interface=up1") && log.contains("is not there yet"), "{log}");
    scene.carry(&["up0", "down0"])?;
    scene.daemon.stop()?;
    scene.lab.plug(&scene.second, "up1")?;
    scene.daemon = Daemon::run(&scene.lab, &scene.lab.directory().join("lb.toml"))?;
    scene.carry(&["up0", "up1", "down0"])?;
    scene.serves(&scene.second)?;
    // And one that goes then is no trouble either.
    scene.daemon.stop()?;
    scene.lab.lb.ip("link del up1")?;
    scene.daemon = Daemon::run(&scene.lab, &scene.lab.directory().join("lb.toml"))?;
    scene.carry(&["up0", "down0"])?;
    scene.serves(&scene.lab.client)?;
    scene.daemon.stop()
}

#[test]
fn one_that_is_not_configured_any_more_is_let_go_at_the_start() -> Result<()> {
    let mut scene = Scene::up("\"up*\", \"down0\"", |lab, second| lab.plug(second, "up1"))?;
    scene.daemon.stop()?;
    assert!(has_xdp(&scene.lab, "up1")?);
    let config = scene.lab.directory().join("lb.toml");
    let fewer = fs::read_to_string(&config)?.replace("\"up*\"", "\"up0\"");
    fs::write(&config, fewer)?;
    scene.daemon = Daemon::run(&scene.lab, &config)?;
    scene.carry(&["up0", "down0"])?;
    assert!(!has_xdp(&scene.lab, "up1")?);
    assert_eq!(scene.lab.lb.sysctl("net/ipv4/conf/up1/forwarding")?, "0");
    scene.daemon.stop()
}

#[test]
fn a_name_decides_also_when_it_changes() -> Result<()> {
    let scene = Scene::up("\"up*\", \"down0\"", |lab, second| lab.plug(second, "spare"))?;
    scene.carry(&["up0", "down0"])?;
    let rename = |from: &str, to: &str| {
        scene.lab.lb.ip(&format!("link set {from} down"))?;
        scene.lab.lb.ip(&format!("link set {from} name {to}"))?;
        scene.lab.lb.ip(&format!("link set {to} up"))
    };
    rename("spare", "up7")?;
    scene.carry(&["up0", "up7", "down0"])?;
    assert!(has_xdp(&scene.lab, "up7")?);
    rename("up7", "up8")?;
    scene.carry(&["up0", "up8", "down0"])?;
    assert!(!scene.daemon.log().contains("let go"), "it is the same one");
    rename("up8", "spare")?;
    scene.carry(&["up0", "down0"])?;
    assert!(!has_xdp(&scene.lab, "spare")?);
    scene.daemon.stop()
}

#[test]
fn one_that_refuses_is_told_once_and_tried_again() -> Result<()> {
    let scene = Scene::up("\"up*\", \"down0\"", |lab, second| {
        lab.plug(second, "spare")?;
        far_end::attach(&lab.lb, "spare", lab.directory())
    })?;
    scene.lab.lb.ip("link set spare down")?;
    scene.lab.lb.ip("link set spare name up1")?;
    poll("it is refused", || Ok(scene.daemon.log().contains("cannot take in this interface")))?;
    scene.serves(&scene.lab.client)?;
    scene.lab.lb.ip("link set dev up1 xdpdrv off")?;
    scene.carry(&["up0", "up1", "down0"])?;
    let log = scene.daemon.log();
    assert_eq!(log.matches("cannot take in this interface").count(), 1, "{log}");
    scene.daemon.stop()
}
