//! The configuration file is watched, and its last good content is kept.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::Result;
use lb_tests::{
    actors::servers,
    daemon::process::Daemon,
    lab::{process::program, topology::Lab},
};
use nix::sys::signal::Signal;

use crate::scene::Scene;

/// A configuration with this many servers a family, in a watched file.
fn watched(lab: &Lab, servers: usize) -> String {
    Scene::services(lab, servers, 0, false).replace("watch_config = false", "watch_config = true")
}

fn has_servers(daemon: &Daemon, servers: usize) -> Result<()> {
    let what = format!("`web` has {servers} servers");
    daemon.when(&what, |status| {
        let web = status.service("web");
        web.is_some_and(|web| web.backends.iter().filter(|it| !it.removed).count() == 2 * servers)
    })?;
    Ok(())
}

fn rename_into(file: &Path, text: &str) -> Result<()> {
    let draft = file.with_extension("draft");
    fs::write(&draft, text)?;
    Ok(fs::rename(draft, file)?)
}

/// As editors, people, configuration management and Kubernetes change files.
#[test]
fn a_changed_file_is_read_however_it_changed() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, watched(&lab, 1))?;
    let daemon = Daemon::run(&lab, &file)?;
    has_servers(&daemon, 1)?;
    fs::write(&file, watched(&lab, 2))?;
    has_servers(&daemon, 2)?;
    rename_into(&file, &watched(&lab, 3))?;
    has_servers(&daemon, 3)?;
    // Wrong once, gone for a moment, and right again (traefik#6020).
    fs::write(&file, "[node\n")?;
    daemon.when("the mistake is told", |_| daemon.log().contains("is refused"))?;
    fs::remove_file(&file)?;
    rename_into(&file, &watched(&lab, 1))?;
    has_servers(&daemon, 1)?;
    // A ConfigMap: a link to a link to a directory, of which the middle one is swapped.
    let map = lab.directory().join("map");
    for (name, servers) in [("one", 2), ("two", 3)] {
        fs::create_dir_all(map.join(name))?;
        fs::write(map.join(name).join("lb.toml"), watched(&lab, servers))?;
    }
    symlink("one", map.join("..data"))?;
    symlink(map.join("..data/lb.toml"), map.join("lb.toml"))?;
    fs::remove_file(&file)?;
    symlink(map.join("lb.toml"), &file)?;
    has_servers(&daemon, 2)?;
    symlink("two", map.join("..data_tmp"))?;
    fs::rename(map.join("..data_tmp"), map.join("..data"))?;
    has_servers(&daemon, 3)?;
    daemon.stop()
}

#[test]
fn a_start_with_a_wrong_file_may_take_the_last_good_one() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let file = lab.directory().join("lb.toml");
    fs::write(&file, watched(&lab, 2))?;
    let mut daemon = Daemon::run(&lab, &file)?;
    // It is wrong before it ends, and so is never applied.
    let wrong = watched(&lab, 1).replace("handlers", "hanlders");
    fs::write(&file, &wrong)?;
    daemon.signal(Signal::SIGTERM)?;
    daemon.wait()?;
    let mut refused = lab.lb.command(program("lb")?);
    let refused = refused.args(["run", "--config"]).arg(&file).output()?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let daemon = Daemon::run_with(&lab, &file, &["--or-last-good"])?;
    has_servers(&daemon, 2)?;
    let log = daemon.log();
    assert!(log.contains("the last good one is used instead") && log.contains("hanlders"), "{log}");
    // The file is watched all the same.
    fs::write(&file, watched(&lab, 3))?;
    has_servers(&daemon, 3)?;
    daemon.stop()
}
