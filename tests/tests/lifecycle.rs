//! The daemon comes and goes, the data path stays until `lb detach`, and then the host is what it
//! was.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::tcp_echo, servers},
    daemon::{
        config::{service, steered},
        process::{self, Daemon, socket},
    },
    lab::{
        far_end,
        process::{Process, poll, program},
        snapshot::{self, Snapshot, differences},
        topology::{INTERFACES, Lab, pins, vips},
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;
const TLS_PORT: u16 = 9443;

/// One steered service, and one whose connections the proxy relays.
fn services(lab: &Lab) -> String {
    let addresses = servers::addresses(lab, servers::TCP);
    let tls = format!(
        "port = {TLS_PORT}, handlers = [\"tls\"], tls_options = {{ default_self_signed = true }}"
    );
    "[proxy]\ndrain_timeout = \"1h\"\nidle_timeout = \"1h\"\n".to_owned()
        + &steered("steered", "tcp", PORT, &addresses)
        + &service("relayed", "tcp", &tls, &addresses)
}

struct Scene {
    before: Snapshot,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Scene {
    fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        Ok(Self { before: snapshot::take(&lab.lb)?, _servers: servers, lab })
    }

    fn start(&self) -> Result<Daemon> {
        Daemon::start(&self.lab, &services(&self.lab))
    }

    /// Steered traffic passes.
    fn serves(&self) -> Result<()> {
        for vip in vips(PORT) {
            self.lab.client.within(|| tcp_echo(vip, "hello"))??;
        }
        Ok(())
    }

    fn changes(&self) -> Result<Vec<String>> {
        Ok(differences(&self.before, &snapshot::take(&self.lab.lb)?))
    }

    fn is_as_before(&self) -> Result<()> {
        let changes = self.changes()?;
        ensure!(changes.is_empty(), "the host is not as it was:\n{}", changes.join("\n"));
        ensure!(!socket(&self.lab).exists(), "the socket was left behind");
        let left = std::fs::read_dir(self.lab.directory().join("state"))?;
        let left = left.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let left = left.collect::<Result<Vec<_>>>()?;
        // The lock: two that start at once must meet at the same file.
        ensure!(left == ["lock"], "left in state_dir: {left:?}");
        Ok(())
    }

    /// What `lb detach` said.
    fn is_as_before_when_detached(&self) -> Result<String> {
        let said = process::detach(&self.lab)?;
        self.is_as_before()?;
        let pins = pins(self.lab.tag());
        ensure!(!pins.exists(), "{} was left", pins.display());
        Ok(said)
    }
}

#[test]
fn after_either_signal_the_data_path_goes_on_until_it_is_detached() -> Result<()> {
    let scene = Scene::up()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = scene.start()?;
        scene.serves()?;
        daemon.signal(signal)?;
        let status = daemon.wait()?;
        ensure!(status.success(), "{signal}: {status}: {}", daemon.log());
        scene.serves().context("without a daemon")?;
        let changes = scene.changes()?.concat();
        for trace in ["203.0.113.10", "2001:db8::10", "prog", "up0/forwarding", "down0/accept_ra"] {
            assert!(changes.contains(trace), "{trace} is no trace of an lb: {changes}");
        }
        let said = scene.is_as_before_when_detached().with_context(|| signal.to_string())?;
        for told in ["up0 (native)", "down0 (native)", "sk_lookup", "203.0.113.10", "10.102.0.11"] {
            assert!(said.contains(told), "{told} is not in: {said}");
        }
        for told in ["net/ipv4/conf/up0/forwarding", "net/ipv6/conf/down0/accept_ra"] {
            assert!(said.contains(told), "{told} is not in: {said}");
        }
        assert_eq!(scene.is_as_before_when_detached()?, "nothing to detach\n");
    }
    Ok(())
}

#[test]
fn what_a_crash_leaves_goes_on() -> Result<()> {
    let scene = Scene::up()?;
    for _ in 0..2 {
        let mut daemon = scene.start()?;
        scene.serves()?;
        daemon.signal(Signal::SIGKILL)?;
        daemon.wait()?;
        scene.serves().context("without a daemon")?;
    }
    let daemon = scene.start()?;
    scene.serves()?;
    daemon.stop()?;
    scene.is_as_before_when_detached().map(drop)
}

#[test]
fn a_crash_alone_can_be_detached() -> Result<()> {
    let scene = Scene::up()?;
    let mut daemon = scene.start()?;
    daemon.signal(Signal::SIGKILL)?;
    daemon.wait()?;
    process::detach(&scene.lab)?;
    // Its socket is for the next one to find and take.
    std::fs::remove_file(socket(&scene.lab))?;
    std::fs::remove_file(socket(&scene.lab).with_extension("sock.lock"))?;
    scene.is_as_before()
}

#[test]
fn a_bpffs_is_mounted_where_there_is_none() -> Result<()> {
    let scene = Scene::up()?;
    let config = scene.lab.directory().join("lb.toml");
    std::fs::write(&config, process::preamble(&scene.lab) + &services(&scene.lab))?;
    let mut command = scene.lab.lb.command("unshare");
    // In a mount namespace of its own, with which all of it goes.
    command.args(["--mount", "sh", "-c", "umount /sys/fs/bpf; exec \"$0\" run --config \"$1\""]);
    command.arg(program("lb")?).arg(config);
    let mut lb = Process::start("lb", command, &scene.lab.directory().join("lb.log"))?;
    poll("lb is ready", || {
        lb.check()?;
        Ok(lb.output().contains("ready"))
    })?;
    assert!(lb.output().contains("mounted a bpffs"), "{}", lb.output());
    scene.serves()?;
    ensure!(lb.stop()?.success(), "{}", lb.output());
    poll("the data path ends with its names", || {
        Ok(!scene.lab.lb.ip("-details link show")?.contains("prog/xdp"))
    })?;
    process::detach(&scene.lab)?;
    scene.is_as_before()
}

/// Nobody knows then whether forwarding was on before, so it stays on, but not in silence.
#[test]
fn what_cannot_be_undone_is_named() -> Result<()> {
    let scene = Scene::up()?;
    let undo = scene.lab.directory().join("state/undo.json");
    scene.start()?.stop()?;
    std::fs::write(&undo, "garbage")?;
    let again = scene.start()?;
    ensure!(again.log().contains("are not known"), "{}", again.log());
    again.stop()?;
    for lost in [false, true] {
        if lost {
            scene.start()?.stop()?;
            std::fs::remove_file(&undo)?;
        }
        let said = process::detach(&scene.lab)?;
        for key in ["net/ipv4/conf/up0/forwarding", "net/ipv6/conf/down0/accept_ra"] {
            let line = said.lines().find(|line| line.starts_with("settings left"));
            ensure!(line.is_some_and(|line| line.contains(key)), "no {key}: {said}");
        }
        ensure!(said.contains("undo.json"), "{said}");
    }
    Ok(())
}

#[test]
fn a_running_daemon_is_not_detached() -> Result<()> {
    let scene = Scene::up()?;
    let daemon = scene.start()?;
    let running = snapshot::take(&scene.lab.lb)?;
    let said = format!("{:#}", process::detach(&scene.lab).unwrap_err());
    assert!(said.contains("cannot detach: another lb is running"), "{said}");
    let changes = differences(&running, &snapshot::take(&scene.lab.lb)?);
    ensure!(changes.is_empty(), "it changed\n{}", changes.join("\n"));
    scene.serves()?;
    daemon.stop()
}

#[test]
fn a_program_of_somebody_else_stays() -> Result<()> {
    let scene = Scene::up()?;
    far_end::attach(&scene.lab.lb, INTERFACES[1], scene.lab.directory())?;
    let before = snapshot::take(&scene.lab.lb)?;
    let error = scene.start().err().context("it started")?;
    let said = format!("{error:#}");
    assert!(said.contains(INTERFACES[1]) && said.contains("is already attached"), "{said}");
    let changes = differences(&before, &snapshot::take(&scene.lab.lb)?);
    ensure!(changes.is_empty(), "it left\n{}", changes.join("\n"));
    ensure!(!pins(scene.lab.tag()).exists(), "it left its directory");
    Ok(())
}

/// A line and its echo at a time, over TLS.
struct Talk {
    openssl: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Talk {
    fn open(lab: &Lab, to: SocketAddr) -> Result<Self> {
        let mut openssl = lab
            .client
            .command("openssl")
            .args(["s_client", "-quiet", "-connect", &to.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let say = openssl.stdin.take().context("no stdin")?;
        let hear = BufReader::new(openssl.stdout.take().context("no stdout")?);
        Ok(Self { openssl, say, hear })
    }

    fn echo(&mut self) -> Result<()> {
        self.say.write_all(b"hello\n")?;
        let mut answer = String::new();
        self.hear.read_line(&mut answer)?;
        ensure!(answer.ends_with(" hello\n"), "heard {answer:?}");
        Ok(())
    }

    /// The other side has hung up and openssl knows: not so if lb's last packets had no address to
    /// come from any more.
    fn ends(&mut self) -> Result<()> {
        poll("the client hears of the end", || Ok(self.openssl.try_wait()?.is_some()))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}

/// A daemon that was told to stop while a relayed connection is open.
fn draining(scene: &Scene) -> Result<(Daemon, Talk)> {
    let daemon = scene.start()?;
    let mut talk = Talk::open(&scene.lab, vips(TLS_PORT)[0])?;
    talk.echo()?;
    daemon.signal(Signal::SIGTERM)?;
    poll("it drains", || Ok(daemon.log().contains("draining")))?;
    talk.echo().context("an open connection goes on")?;
    scene.serves().context("steered traffic goes on")?;
    assert_eq!(daemon.status()?.service("relayed").context("relayed")?.backends.len(), 6);
    Ok((daemon, talk))
}

#[test]
fn a_drain_ends_with_the_last_connection() -> Result<()> {
    let scene = Scene::up()?;
    let (mut daemon, talk) = draining(&scene)?;
    drop(talk);
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    assert!(daemon.log().contains("drained"), "{}", daemon.log());
    scene.is_as_before_when_detached().map(drop)
}

#[test]
fn a_second_signal_cuts_a_drain_short() -> Result<()> {
    let scene = Scene::up()?;
    let (mut daemon, mut talk) = draining(&scene)?;
    daemon.signal(Signal::SIGINT)?;
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    assert!(daemon.log().contains("closing connections"), "{}", daemon.log());
    talk.ends()?;
    scene.is_as_before_when_detached().map(drop)
}
