//! `lb drain`: a backend that drains keeps what it has and gets nothing new.

use anyhow::{Result, ensure};
use lb_tests::{
    config::steered,
    daemon::{Daemon, drain},
    servers,
    talk::Talk,
    topology::{Lab, vips},
};

const PORT: u16 = 9000;

fn open(lab: &Lab, count: usize) -> Result<Vec<Talk>> {
    let vips = vips(PORT).into_iter().cycle().take(count);
    vips.map(|vip| Talk::open(&lab.client, vip)).collect()
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
    let during = open(&lab, 60)?;
    ensure!(during.iter().all(|held| held.server != "b2"), "b2 got something new");
    held.iter_mut().try_for_each(Talk::echo)?;
    for server in &second {
        let (done, text) = drain(&lab, "echo", *server, &["--undo"])?;
        ensure!(done && text.contains("takes new flows again"), "{text}");
    }
    let after = open(&lab, 60)?;
    ensure!(after.iter().any(|held| held.server == "b2"), "b2 gets nothing any more");
    let (done, text) = drain(&lab, "echo", "10.99.99.99:1".parse()?, &[])?;
    ensure!(!done && text.contains("has no server 10.99.99.99:1"), "{text}");
    drop((held, during, after));
    daemon.when_quiet()?;
    daemon.stop()
}
