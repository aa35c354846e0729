//! What was acknowledged is there after a crash.

use anyhow::Result;
use lb_tests::daemon::process::Daemon;
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
