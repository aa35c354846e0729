//! Several NICs, by name and by pattern, that come and go under traffic.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{client::tcp_echo, iperf, servers, talk::Talk},
    daemon::{
        config::steered,
        process::{self, Daemon, preamble},
        status::Status,
    },
    lab::{
        far_end,
        netns::Netns,
        process::{Process, output, poll, program},
        topology::{Lab, VIP4, vips},
    },
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

/// One uplink's driver has no native XDP (a veth has none while its far end sends jumbo frames),
/// the others do: all of them carry both directions, to the same address.
#[test]
fn a_native_and_a_generic_uplink_stand_side_by_side() -> Result<()> {
    let scene = Scene::up("\"up*\", \"down0\"", |lab, second| {
        lab.plug(second, "up1")?;
        second.ip("link set eth0 mtu 9000")?;
        lab.lb.ip("link set up1 mtu 9000").map(drop)
    })?;
    let status = scene.carry(&["up0", "up1", "down0"])?;
    let modes: Vec<_> = status.interfaces.iter().map(|it| it.mode.as_str()).collect();
    assert_eq!(modes, ["native", "generic", "native"]);
    let log = scene.daemon.log();
    let warnings = log.lines().filter(|line| line.contains("falling back to generic XDP"));
    let warnings: Vec<_> = warnings.collect();
    assert!(warnings.len() == 1 && warnings[0].contains("up1"), "{warnings:?}");
    for client in [&scene.lab.client, &scene.second] {
        scene.serves(client)?;
        for vip in vips(PORT) {
            Talk::open(client, vip)?.echo_long(100_000).with_context(|| format!("{vip}"))?;
        }
    }
    let status = scene.daemon.when_quiet()?;
    assert_eq!(status.service("tcp").context("tcp")?.connections(), 8, "all of them steered");
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
    assert_eq!(log.matches("an interface is gone").count(), 2, "{log}");
    drop((bulk, quiet));
    scene.daemon.when_quiet()?;
    // Nothing of the one that is gone is left, neither in the bpffs nor in the notes.
    scene.daemon.stop()?;
    let said = process::detach(&scene.lab)?;
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
    poll("it is refused", || Ok(scene.daemon.log().contains("cannot attach to this interface")))?;
    scene.serves(&scene.lab.client)?;
    scene.lab.lb.ip("link set dev up1 xdpdrv off")?;
    scene.carry(&["up0", "up1", "down0"])?;
    let log = scene.daemon.log();
    assert_eq!(log.matches("cannot attach to this interface").count(), 1, "{log}");
    scene.daemon.stop()
}

/// A client that goes on asking for a connection.
fn insist(lab: &Lab) -> Result<Process> {
    let mut curl = lab.client.command("curl");
    curl.args(["--silent", "--noproxy", "*", "--max-time", "600"]);
    curl.arg(format!("telnet://{VIP4}:{PORT}"));
    Process::start("curl", curl, &lab.directory().join("curl.log"))
}

fn is_warned(status: &Status, words: &str) -> bool {
    status.warnings.iter().any(|warning| warning.contains(words))
}

/// What `lb explain` says of a new connection to the service.
fn explained(lab: &Lab) -> Result<String> {
    let mut lb = lab.lb.command(program("lb")?);
    lb.args(["explain", "--from", "10.101.0.2:4000", "--to", &format!("{VIP4}:{PORT}")]);
    output(lb.arg("--config").arg(lab.directory().join("lb.toml")))
}

/// With the uplink alone, answers of servers go to the host's own stack.
#[test]
fn answers_that_come_in_elsewhere_are_told() -> Result<()> {
    const TOLD: &str = "come in by `down0`";
    let scene = Scene::up("\"up0\"", |_, _| Ok(()))?;
    let file = scene.lab.directory().join("lb.toml");
    let check = |file: &Path| -> Result<String> {
        let checked = scene.lab.lb.command(program("lb")?).arg("check").arg(file).output()?;
        anyhow::ensure!(checked.status.success(), "{checked:?}");
        Ok(String::from_utf8(checked.stderr)?)
    };
    let said = check(&file)?;
    assert!(said.contains(TOLD) && said.contains("add \"down0\" to [node] interfaces"), "{said}");
    assert!(scene.daemon.log().contains("come in by `down0`"), "{}", scene.daemon.log());
    let status = scene.daemon.status()?;
    assert!(is_warned(&status, TOLD), "{status:?}");
    let told = explained(&scene.lab)?;
    assert!(told.contains("verdict   steered") && told.contains(TOLD), "{told}");
    let client = insist(&scene.lab)?;
    scene.daemon.when("a flow is unanswered", |status| {
        let backends = status.service("tcp").into_iter().flat_map(|tcp| &tcp.backends);
        backends.map(|backend| backend.unanswered.unwrap_or(0)).sum::<u64>() > 0
    })?;
    drop(client);
    // With both, and where the interfaces are those of another host, there is nothing to say.
    let both = fs::read_to_string(&file)?.replace("[\"up0\"]", "[\"up0\", \"down*\"]");
    let other = both.replace("[\"up0\", \"down*\"]", "[\"eth7\"]");
    for text in [both, other] {
        let said = check(&lb_tests::daemon::config::write(&scene.lab, "other.toml", &text)?)?;
        assert!(!said.contains("answers of"), "{said}");
    }
    scene.daemon.stop()
}

/// Checks of another port succeed, and no answer of the service's own comes by.
#[test]
fn a_server_that_answers_nobody_is_told_until_it_does() -> Result<()> {
    const TOLD: &str =
        "has answered no connection that was steered to it, though its checks succeed";
    let scene = Scene::up("\"up0\", \"down0\"", |_, _| Ok(()))?;
    let (file, lab) = (scene.lab.directory().join("lb.toml"), &scene.lab);
    scene.daemon.stop()?;
    let checked = format!(
        "{}\nload_balancer.health_check = {{ port = {}, interval = \"200ms\" }}\n",
        fs::read_to_string(&file)?,
        servers::HTTP
    );
    fs::write(&file, checked)?;
    for backend in &lab.backends {
        for line in [
            "add table inet lost",
            "add chain inet lost out { type filter hook output priority 0; }",
            "add rule inet lost out tcp sport 7000 drop",
        ] {
            output(backend.netns.command("nft").arg(line))?;
        }
    }
    let daemon = Daemon::run(lab, &file)?;
    let _client = insist(lab)?;
    daemon.when("it is told", |status| is_warned(status, TOLD))?;
    assert!(explained(lab)?.contains("verdict   steered"));
    for backend in &lab.backends {
        output(backend.netns.command("nft").args(["delete", "table", "inet", "lost"]))?;
    }
    daemon.when("it has answered", |status| status.warnings.is_empty())?;
    assert!(daemon.log().contains("answers of this server are seen again"), "{}", daemon.log());
    daemon.stop()
}
