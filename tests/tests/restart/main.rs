//! The data path outlives the daemon: nothing that is steered notices how it ends or begins.
//!
//! Every packet to an announced address that no program sees reaches the host's own TCP, which
//! answers with RST: had an interface been without a program for a moment, the bulk transfer that
//! runs through it all would break, and the host would have counted a reset.

mod notes;
mod removed;
mod replaced;
mod scene;

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::tcp_echo, held::hold, servers},
    daemon::{
        process::Daemon,
        status::{Service, Status},
    },
    lab::{
        process::program,
        topology::{VIP4, VIP6, vips},
    },
};
use nix::sys::signal::Signal;

use scene::{PORT, PROXIED, Scene, WEB, services};

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
    assert!(log.contains("taking over") && !log.contains("replacing this map"), "{log}");
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
        lb_tests::actors::client::curl(&backend.netns, &[&url])?;
    }
    held.into_iter().try_for_each(lb_tests::actors::held::Held::finish)
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
