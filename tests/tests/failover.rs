//! A backend dies under load: it leaves rotation, others do not notice, and it comes back.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, ensure};
use lb_tests::{
    actors::{crowd::Crowd, servers, talk::Talk},
    daemon::{config::steered, process::Daemon, status::Status},
    lab::{
        process::{PATIENCE, poll},
        topology::{Lab, vips},
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;
const CHECK: &str = "load_balancer.health_check = \
     { interval = \"200ms\", timeout = \"2s\", unhealthy_threshold = 2, healthy_threshold = 2 }\n";

/// Whether all of b2's servers are `up`.
fn second_is(status: &Status, up: bool) -> bool {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    let mut second =
        backends.filter(|it| it.address.contains(".12:") || it.address.contains("::12]"));
    second.all(|backend| backend.up == up)
}

#[test]
fn a_dead_backend_takes_only_its_own_connections_along() -> Result<()> {
    let lab = Lab::up()?;
    let mut servers = servers::start_all(&lab)?;
    let services = steered("echo", "tcp", PORT, &servers::addresses(&lab, servers::TCP)) + CHECK;
    let daemon = Daemon::start(&lab, &services)?;
    let ends = vips(PORT).into_iter().cycle().take(60);
    let mut held = ends.map(|vip| Talk::open(&lab.client, vip)).collect::<Result<Vec<_>>>()?;
    let on_second = held.iter().filter(|held| held.server == "b2").count();
    ensure!((1..60).contains(&on_second), "{on_second} of 60 on b2");

    let during = under_load(&lab, || {
        servers[1].signal(Signal::SIGKILL)?;
        servers[1].wait()?;
        daemon.when("b2 is down", |status| second_is(status, false)).map(drop)
    })?;
    assert!(during.total() > 0);
    for held in &mut held {
        assert_eq!(held.echo().is_ok(), held.server != "b2", "{}", held.server);
    }

    // The word is out a moment before the rings are.
    come_in_peace(&lab, |crowd| crowd.failures.is_empty())?;
    let after = lab.client.within(|| Crowd::of(&vips(PORT), 600))?;
    assert_eq!(after.failures, [""; 0]);
    assert_eq!(after.answered.keys().collect::<Vec<_>>(), ["b1", "b3"]);

    servers[1] = servers::start(&lab, &lab.backends[1])?;
    daemon.when("b2 is up", |status| second_is(status, true))?;
    come_in_peace(&lab, |crowd| crowd.answered.contains_key("b2"))?;
    let after = lab.client.within(|| Crowd::of(&vips(PORT), 600))?;
    assert_eq!(after.failures, [""; 0]);
    assert_eq!(after.answered.keys().collect::<Vec<_>>(), ["b1", "b2", "b3"]);
    for held in held.iter_mut().filter(|held| held.server != "b2") {
        assert!(held.echo().is_ok(), "{}", held.server);
    }
    drop(held);
    daemon.when_quiet()?;
    daemon.stop()
}

/// Short connections come all the while that `work` takes, and a while before.
fn under_load(lab: &Lab, work: impl FnOnce() -> Result<()>) -> Result<Crowd> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            lab.client.within(|| Crowd::come(&vips(PORT), 8, |_| !over.load(Ordering::Relaxed)))
        });
        let before = lab.client.within(|| Crowd::of(&vips(PORT), 200));
        let worked = work();
        over.store(true, Ordering::Relaxed);
        let crowd = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        let before = before?;
        ensure!(before.failures.is_empty(), "before anything died: {:?}", before.failures);
        worked.map(|()| crowd)
    })
}

/// Waits for a crowd of which `is` is true.
fn come_in_peace(lab: &Lab, is: impl Fn(&Crowd) -> bool) -> Result<()> {
    poll("the rings follow", || Ok(is(&lab.client.within(|| Crowd::of(&vips(PORT), 60))?)))
}

#[test]
fn without_any_backend_left_nothing_is_steered() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let services = steered("echo", "tcp", PORT, &servers::addresses(&lab, servers::TCP)) + CHECK;
    let daemon = Daemon::start(&lab, &services)?;
    drop(servers);
    daemon.when("all are down", |status| {
        status.services[0].backends.iter().all(|backend| !backend.up)
    })?;
    let address = vips(PORT)[0];
    daemon.when("a SYN finds no backend", |status| {
        let _ = lab.client.within(|| TcpStream::connect_timeout(&address, PATIENCE / 600));
        status.dropped("no_backend") > 0
    })?;
    let _servers = servers::start_all(&lab)?;
    daemon.when("all are up", |status| {
        status.services[0].backends.iter().all(|backend| backend.up)
    })?;
    come_in_peace(&lab, |crowd| crowd.failures.is_empty())?;
    daemon.when_quiet()?;
    daemon.stop()
}
