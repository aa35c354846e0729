//! A new process takes the place of the running one, and nobody notices.

mod service_manager;

use std::{fs, thread, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{
    actors::{
        client::Stream,
        servers,
        talk::Talk,
        traffic::{Habit, failures, under},
    },
    daemon::{
        config::service,
        process::{Daemon, preamble_with, reload},
        status::{Service, Status},
    },
    lab::{
        process::poll,
        topology::{Lab, vips},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const WEB: u16 = 80;
const ECHO: u16 = 9000;

/// A proxied and a steered service.
fn configuration(lab: &Lab, node: &str) -> String {
    let mut text = preamble_with(lab, node);
    let http = format!("port = {WEB}, handlers = [\"http\"]");
    text += &service("web", "tcp", &http, &servers::addresses(lab, servers::HTTP));
    text +=
        &service("echo", "tcp", &format!("port = {ECHO}"), &servers::addresses(lab, servers::TCP));
    text
}

fn websocket(lab: &Lab) -> Result<Stream> {
    let mut stream = lab.client.within(|| Stream::connect(vips(WEB)[0]))??;
    let head = stream.ask(
        "GET /upgrade HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    )?;
    ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
    Ok(stream)
}

fn echoes(stream: &mut Stream) -> Result<()> {
    stream.send("still there?")?;
    let heard = stream.take("still there?".len())?;
    ensure!(heard == "still there?", "{heard}");
    Ok(())
}

fn requests(status: &Status) -> u64 {
    status.service("web").map_or(0, |web| web.requests)
}

#[test]
fn upgrades_under_load_lose_nothing() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, ""))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let mut held = websocket(&lab)?;
    let mut talks: Vec<_> =
        vips(ECHO).iter().map(|&vip| Talk::open(&lab.client, vip)).collect::<Result<_>>()?;
    let habits = [
        Habit::KeepAlive(vips(WEB)[0]),
        Habit::Fresh(vips(WEB)[1]),
        Habit::Fresh(vips(WEB)[0]),
        Habit::TcpEcho(vips(ECHO)[0]),
    ];
    let mut counted = 0;
    let upgrades = || {
        for round in 0..5 {
            let before = daemon.id();
            let (done, said) = daemon.upgrade(&[])?;
            ensure!(done, "round {round}: {said}");
            ensure!(daemon.id() != before, "{said}");
            talks.iter_mut().try_for_each(Talk::echo)?;
            if round == 0 {
                // Of the first process, which drains.
                echoes(&mut held)?;
                daemon.first().check()?;
                drop(std::mem::replace(&mut held, websocket(&lab)?));
            }
            let status = daemon.status()?;
            ensure!(requests(&status) >= counted, "counters go backwards: {status:?}");
            counted = requests(&status);
        }
        Ok(())
    };
    let ((), tallies) = under(&lab, &habits, upgrades)?;
    assert_eq!(failures(&tallies), [""; 0]);
    // And seven WebSockets at most.
    let served: u64 = tallies[..3].iter().map(|tally| tally.done).sum();
    let status = daemon.when("all requests are counted", |status| requests(status) >= served)?;
    assert!(requests(&status) <= served + 7, "{} of {served}", requests(&status));
    drop((held, talks));
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}

/// The new process is killed earlier and later in its start, until it is too late: the old one goes
/// on, and what was begun is put right (haproxy#1803, envoy#14295).
#[test]
fn a_new_process_that_dies_leaves_everything_as_it_was() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, ""))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let mut talk = Talk::open(&lab.client, vips(ECHO)[0])?;
    let habits = [Habit::Fresh(vips(WEB)[0]), Habit::TcpEcho(vips(ECHO)[1])];
    let killed = || {
        let mut killed = 0;
        for delay in (0..100).map(|n| Duration::from_millis(10 * n)) {
            let (id, socket) = (daemon.id(), lab.directory().join("admin.sock"));
            let killer = thread::spawn(move || -> Result<()> {
                let mut successor = None;
                poll("the new process is there", || {
                    successor = child_of(id)?;
                    Ok(successor.is_some() || !socket.exists())
                })?;
                thread::sleep(delay);
                if let Some(successor) = successor {
                    // It may have ended, or serve already.
                    let _ = kill(Pid::from_raw(successor), Signal::SIGKILL);
                }
                Ok(())
            });
            let (done, said) = daemon.upgrade(&[])?;
            killer.join().expect("no panic")?;
            if done {
                break;
            }
            killed += 1;
            ensure!(said.contains("goes on as before"), "{said}");
            talk.echo()?;
            daemon.status()?;
        }
        Ok(killed)
    };
    let (killed, tallies) = under(&lab, &habits, killed)?;
    assert!(killed >= 5, "only {killed} were killed in time");
    assert_eq!(failures(&tallies), [""; 0], "after {killed}");
    drop(talk);
    drop(daemon);
    drop(servers);
    Ok(())
}

/// The process that another one started, if it has become another program already.
fn child_of(id: u32) -> Result<Option<i32>> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let text = children.unwrap_or_default();
    Ok(text.split_whitespace().next().and_then(|child| child.parse().ok()))
}

/// What only a new process can take over: more and fewer workers, another configuration.
#[test]
fn an_upgrade_takes_over_what_a_reload_cannot() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, "workers = 2"))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let mut talk = Talk::open(&lab.client, vips(ECHO)[0])?;
    let habits =
        [Habit::KeepAlive(vips(WEB)[0]), Habit::Fresh(vips(WEB)[1]), Habit::Fresh(vips(WEB)[0])];
    let upgrades = || {
        for node in ["workers = 4", "workers = 1", "workers = 2\nmaglev_table_size = 1021"] {
            fs::write(&file, configuration(&lab, node))?;
            let (done, said) = daemon.upgrade(&[])?;
            ensure!(done, "{node}: {said}");
            talk.echo()?;
        }
        Ok(())
    };
    let ((), tallies) = under(&lab, &habits, upgrades)?;
    assert_eq!(failures(&tallies), [""; 0]);
    drop(talk);
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}

/// What a reload needs a new process for, it does by an upgrade, and says so.
#[test]
fn a_reload_upgrades_by_itself_where_it_must() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, "workers = 2"))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let mut talk = Talk::open(&lab.client, vips(ECHO)[0])?;
    let mut held = websocket(&lab)?;
    let habits = [Habit::KeepAlive(vips(WEB)[0]), Habit::Fresh(vips(WEB)[1])];
    let node = "workers = 3\nmax_affinities = 1000\nsource_ports = '3000-9999'";
    let reloaded = || {
        fs::write(&file, configuration(&lab, node))?;
        let (done, dry) = reload(&lab, &["--dry-run"])?;
        ensure!(done && dry.contains("[node] workers: 3 instead of 2, by a new process"), "{dry}");
        let (done, said) = reload(&lab, &[])?;
        ensure!(done, "{said}");
        Ok(said)
    };
    let (said, tallies) = under(&lab, &habits, reloaded)?;
    assert_eq!(failures(&tallies), [""; 0]);
    let serves = said.lines().last().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    daemon.is_now(serves.parse()?);
    talk.echo()?;
    echoes(&mut held)?;
    assert_eq!(reload(&lab, &[])?, (true, "nothing changes\n".to_owned()));
    drop((talk, held));
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}

/// Connections of the former process are counted as long as they last, and its end by force is
/// noticed.
#[test]
fn a_former_process_is_shown_and_its_connections_are_counted() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, ""))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let first = daemon.id();
    let mut held = [websocket(&lab)?, websocket(&lab)?];
    let (done, said) = daemon.upgrade(&[])?;
    assert!(done, "{said}");
    let live = |status: &Status| status.service("web").map_or(0, Service::live);
    daemon.when("both are counted", |status| live(status) == 2)?;
    daemon.when("it is shown", |status| status.draining_processes == [first])?;
    let other = websocket(&lab)?;
    daemon.when("all three are", |status| live(status) == 3)?;
    let [one, two] = &mut held;
    echoes(one)?;
    drop(std::mem::replace(one, websocket(&lab)?));
    daemon.when("one has ended, and another has come", |status| live(status) == 3)?;
    echoes(two)?;
    daemon.first().signal(Signal::SIGKILL)?;
    daemon.first().wait()?;
    daemon.when("what it had is taken out", |status| {
        live(status) == 2 && status.draining_processes.is_empty()
    })?;
    drop((held, other));
    daemon.when_quiet()?;
    daemon.stop()?;
    drop(servers);
    Ok(())
}

/// The process that drains holds nothing that a start after a crash of the new one needs.
#[test]
fn a_crash_after_an_upgrade_is_like_any_other() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, configuration(&lab, ""))?;
    let mut first = Daemon::run(&lab, &file)?;
    let mut held = websocket(&lab)?;
    let mut talk = Talk::open(&lab.client, vips(ECHO)[1])?;
    let (done, said) = first.upgrade(&[])?;
    assert!(done, "{said}");
    first.kill()?;
    let third = Daemon::run(&lab, &file)?;
    echoes(&mut held)?;
    talk.echo()?;
    let web = |status: &Status| status.service("web").map_or(0, Service::live);
    third.when("its connection is counted", |status| web(status) == 1)?;
    drop((held, talk));
    third.when_quiet()?;
    third.stop()?;
    drop((first, servers));
    Ok(())
}

/// Whatever is wrong with the new process, the old one goes on.
#[test]
fn what_cannot_take_over_changes_nothing() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    let good = configuration(&lab, "");
    fs::write(&file, &good)?;
    let mut daemon = Daemon::run(&lab, &file)?;
    let mut talk = Talk::open(&lab.client, vips(ECHO)[0])?;
    let mut held = websocket(&lab)?;
    let id = daemon.id();
    let mut refused = |daemon: &mut Daemon, flags: &[&str], words: &str| -> Result<()> {
        let (done, said) = daemon.upgrade(flags)?;
        assert!(!done && said.contains(words), "{flags:?}: {said}");
        assert_eq!(daemon.id(), id);
        talk.echo()?;
        echoes(&mut held)
    };
    refused(&mut daemon, &["--binary", "/nonexistent"], "cannot start /nonexistent")?;
    refused(&mut daemon, &["--binary", "/bin/true"], "ended before it served")?;
    fs::write(&file, good.replace("handlers", "hanlders"))?;
    refused(&mut daemon, &[], "ended before it served")?;
    fs::write(&file, good.replace("state_dir = \"", "state_dir = \"/nonexistent\u{0}"))?;
    refused(&mut daemon, &[], "ended before it served")?;
    fs::write(&file, &good)?;
    let (done, said) = daemon.upgrade(&[])?;
    assert!(done, "{said}");
    talk.echo()?;
    echoes(&mut held)?;
    drop((talk, held));
    daemon.when_quiet()?;
    let live = daemon.status()?.service("web").map_or(0, Service::live);
    assert_eq!(live, 0);
    daemon.stop()?;
    drop(servers);
    Ok(())
}
