//! `lb drain`: a backend that drains keeps what it has and gets nothing new, until it is told
//! otherwise.

use std::{net::SocketAddr, process::Command};

use anyhow::{Result, ensure};
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::{
        config::steered,
        process::{Daemon, drain, socket},
    },
    lab::{
        process::{output, program},
        topology::{Lab, vips},
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;

fn open(lab: &Lab, count: usize) -> Result<Vec<Talk>> {
    let vips = vips(PORT).into_iter().cycle().take(count);
    vips.map(|vip| Talk::open(&lab.client, vip)).collect()
}

/// Of each that drains until a deadline, ms.
fn time_left(daemon: &Daemon) -> Result<Vec<u64>> {
    let backends = daemon.status()?.services.remove(0).backends;
    Ok(backends.into_iter().filter_map(|it| it.drain_remaining_ms).collect())
}

#[test]
fn a_draining_backend_keeps_its_connections_and_gets_no_new_ones() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let daemon = Daemon::start(&lab, &steered("echo", "tcp", PORT, &addresses))?;
    let mut held = open(&lab, 60)?;
    let before = held.iter().filter(|held| held.server == "b2").count();
    ensure!((1..60).contains(&before), "{before} of 60 on b2");
    let second = lab.backends[1].addresses();
    let second = addresses.iter().copied().filter(|address| second.contains(&address.ip()));
    let second: Vec<_> = second.collect();
    for server in &second {
        let (done, text) = drain(&lab, "echo", *server, &[])?;
        ensure!(done && text.contains("drains"), "{text}");
    }
    let draining = daemon.status()?.services[0].backends.iter().filter(|it| it.draining).count();
    ensure!(draining == second.len(), "{draining} drain");
    ensure!(time_left(&daemon)?.is_empty(), "nobody said until when");
    let (done, text) = drain(&lab, "echo", second[0], &["--deadline", "1h"])?;
    ensure!(done, "{text}");
    let left = time_left(&daemon)?;
    let [left] = left[..] else { anyhow::bail!("{left:?}") };
    ensure!((1..=3_600_000).contains(&left), "{left} ms");
    let shown =
        output(Command::new(program("lb")?).arg("status").arg("--socket").arg(socket(&lab)))?;
    let mut lines = shown.lines();
    let line = lines.find(|line| line.contains(&second[0].to_string())).unwrap_or(&shown);
    ensure!(line.contains("draining, ") && line.contains(" left"), "{shown}");
    let during = open(&lab, 60)?;
    ensure!(during.iter().all(|held| held.server != "b2"), "b2 got something new");
    held.iter_mut().try_for_each(Talk::echo)?;
    for server in &second {
        let (done, text) = drain(&lab, "echo", *server, &["--undo"])?;
        ensure!(done && text.contains("takes new flows again"), "{text}");
    }
    ensure!(time_left(&daemon)?.is_empty(), "it drains no more");
    let after = open(&lab, 60)?;
    ensure!(after.iter().any(|held| held.server == "b2"), "b2 gets nothing any more");
    let (done, text) = drain(&lab, "echo", "10.99.99.99:1".parse()?, &[])?;
    ensure!(!done && text.contains("has no server 10.99.99.99:1"), "{text}");
    drop((held, during, after));
    daemon.when_quiet()?;
    daemon.stop()
}

#[test]
fn an_order_outlives_a_killed_daemon() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let config = steered("echo", "tcp", PORT, &addresses);
    let mut daemon = Daemon::start(&lab, &config)?;
    let draining = |daemon: &Daemon| -> Result<Vec<String>> {
        let backends = daemon.status()?.services.remove(0).backends;
        Ok(backends.into_iter().filter(|it| it.draining).map(|it| it.address).collect())
    };
    let second = lab.backends[1].addresses();
    let second: Vec<_> =
        addresses.iter().copied().filter(|address| second.contains(&address.ip())).collect();
    let texts =
        |servers: &[SocketAddr]| -> Vec<_> { servers.iter().map(SocketAddr::to_string).collect() };
    for (order, expected) in [(&["--deadline", "1h"][..], &second[..]), (&["--undo"], &[])] {
        for server in &second {
            let (done, text) = drain(&lab, "echo", *server, order)?;
            ensure!(done, "{text}");
        }
        daemon.signal(Signal::SIGKILL)?;
        daemon.wait()?;
        daemon = Daemon::start(&lab, &config)?;
        let found = draining(&daemon)?;
        ensure!(found == texts(expected), "after {order:?} {found:?} drain: {}", daemon.log());
        let opened = open(&lab, 30)?;
        ensure!(opened.iter().any(|open| open.server == "b2") == expected.is_empty(), "{order:?}");
    }
    daemon.when_quiet()?;
    daemon.stop()
}
