//! What was acknowledged is there after a crash.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result};
use lb_tests::{
    daemon::process::Daemon,
    lab::process::{Process, poll},
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::{Scene, WEB};

/// caddyserver/caddy#2903, traefik/traefik#6962: what was made by the API was gone after a restart.
#[test]
fn what_was_made_serves_after_a_crash() -> Result<()> {
    let mut scene = Scene::up()?;
    let made = scene.api.put("/v1/services/web", None, &scene.web(WEB))?.expect(201)?;
    for round in 0..3 {
        let tag = scene.api.get("/v1/services/web")?.tag()?.to_owned();
        let patch = json!({"queue": {"length": 10 + round}});
        scene.api.write("PATCH", "/v1/services/web", Some(&tag), Some(&patch))?.expect(200)?;
        scene.daemon.signal(Signal::SIGKILL)?;
        scene.daemon.wait()?;
        scene.daemon = Daemon::run(&scene.lab, &scene.lab.directory().join("lb.toml"))?;
        let got = scene.api.get("/v1/services/web")?.expect(200)?;
        assert_eq!(got.body["queue"]["length"], json!(10 + round));
        assert_ne!(got.tag()?, made.tag()?);
        assert!(scene.answers(WEB)?);
    }
    scene.close()
}

/// The daemon is killed before each system call by which a revision comes to disk, one after the
/// other: the next one has the old revision or the new one, whole.
#[test]
fn a_crash_while_writing_leaves_the_old_or_the_new() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.api.put("/v1/services/web", None, &scene.web(WEB))?.expect(201)?;
    let (mut before, mut rounds, mut outcomes) = (0, 0, BTreeSet::new());
    for call in ["openat", "write", "fsync", "rename"] {
        // Until it does not come so often.
        for number in 1.. {
            rounds += 1;
            let (tracer, new) = (kill_before(&scene, call, number)?, 100 + rounds);
            let tag = scene.api.get("/v1/services/web")?.tag()?.to_owned();
            let patch = json!({"queue": {"length": new}});
            let answer = scene.api.write("PATCH", "/v1/services/web", Some(&tag), Some(&patch));
            let is_acknowledged = answer.is_ok();
            if is_acknowledged {
                assert!(number > 1, "no {call}");
                before = new;
                drop(tracer);
                break;
            }
            scene.daemon.wait()?;
            drop(tracer);
            scene.daemon = Daemon::run(&scene.lab, &scene.lab.directory().join("lb.toml"))?;
            let got = scene.api.get("/v1/services/web")?.expect(200)?;
            let now = got.body["queue"]["length"].as_u64().unwrap_or(0);
            assert!(now == before || now == new, "{now} after {before}, {new}");
            outcomes.insert((call, now == new));
            before = now;
            assert!(scene.answers(WEB)?);
        }
    }
    let outcomes: Vec<_> = outcomes.into_iter().collect();
    let expected = [
        ("fsync", false),
        ("fsync", true),
        ("openat", false),
        ("openat", true),
        ("rename", false),
        ("write", false),
    ];
    assert_eq!(outcomes, expected, "old before the rename, new after it");
    scene.close()
}

/// Kills the daemon before the `number`-th such call that touches the next revision.
fn kill_before(scene: &Scene, call: &str, number: u64) -> Result<Process> {
    let revision = scene.api.get("/v1/services")?.body["revision"].as_u64();
    let directory = scene.lab.directory().join("state/api");
    let next = directory.join(format!("{}.json", revision.context("no revision")? + 1));
    let mut command = Command::new("strace");
    command.args(["--follow-forks", "--attach", &scene.daemon.id().to_string()]);
    for path in [&directory, &next, &next.with_extension("json.new")] {
        command.arg("--trace-path").arg(path);
    }
    command.arg(format!("--inject={call}:signal=SIGKILL:when={number}"));
    let log = scene.lab.directory().join(format!("strace-{call}-{number}.log"));
    let mut tracer = Process::start("strace", command, &log)?;
    poll("strace is attached", || {
        tracer.check()?;
        Ok(tracer.output().contains("attached"))
    })?;
    Ok(tracer)
}
