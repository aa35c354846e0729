//! What cannot go on over a restart.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::talk::Talk,
    daemon::process::Daemon,
    lab::topology::{pins, vips},
};
use nix::sys::signal::Signal;

use super::scene::{PORT, Scene};

/// What cannot go on is replaced under running traffic: new connections are always taken.
fn replaces(scene: &mut Scene, told: &str) -> Result<()> {
    let lab = &scene.lab;
    let config = lab.directory().join("lb.toml");
    let before = scene.program_id("up0")?;
    let opening = std::sync::atomic::AtomicBool::new(true);
    let opened = std::thread::scope(|scope| {
        let clients = scope.spawn(|| -> Result<u64> {
            let mut opened = 0;
            while opening.load(std::sync::atomic::Ordering::Relaxed) {
                for vip in vips(PORT) {
                    // A handshake that the change catches halfway is begun again by the client's
                    // TCP. A refusal would be an interface without a program.
                    lab.client.within(|| connects(vip))?.with_context(|| format!("{vip}"))?;
                    opened += 1;
                }
            }
            Ok(opened)
        });
        let daemon = Daemon::run(lab, &config);
        opening.store(false, std::sync::atomic::Ordering::Relaxed);
        let opened = clients.join().expect("clients do not panic");
        daemon.map(|daemon| scene.daemon = Some(daemon))?;
        opened
    })?;
    assert!(opened > 0);
    let log = scene.daemon()?.log();
    assert_eq!(log.matches(told).count(), 1, "{told:?} in {log}");
    assert_ne!(scene.program_id("up0")?, before);
    // Flows of the old table are gone: what backends still send for them is nobody's. (So resets
    // towards backends are right here; one towards a client would have ended the loop above.)
    Talk::open(&scene.lab.client, vips(PORT)[0])?.echo()?;
    let daemon = scene.daemon.take().context("no daemon")?;
    daemon.stop()
}

fn connects(vip: SocketAddr) -> std::io::Result<()> {
    std::net::TcpStream::connect_timeout(&vip, lb_tests::lab::process::PATIENCE).map(drop)
}

#[test]
fn tables_of_another_version_are_replaced_under_traffic() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.end(Signal::SIGTERM)?;
    let version = lb_common::abi::ABI_VERSION;
    let [ours, theirs]: [PathBuf; 2] =
        [version, 0].map(|version| pins(scene.lab.tag()).join(format!("v{version}")));
    fs::rename(&ours, &theirs)?;
    replaces(&mut scene, "another ABI version")?;
    assert!(ours.exists() && !theirs.exists());
    Ok(())
}

#[test]
fn a_flow_table_of_another_size_is_replaced_under_traffic() -> Result<()> {
    let mut scene = Scene::up()?;
    let before = scene.counts()?;
    scene.end(Signal::SIGTERM)?;
    scene.configure(|config| config.replace("[node]", "[node]\nmax_flows = 4096"))?;
    replaces(&mut scene, "the flow table starts empty")?;
    scene.start()?;
    let after = scene.daemon()?.status()?;
    assert_eq!(after.flows.max, 4096);
    assert!(after.verdicts.steer > before.verdicts.steer, "counters go on");
    Ok(())
}
