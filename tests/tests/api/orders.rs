//! Orders for servers, whoever configured them.

use anyhow::{Context as _, Result};
use lb_tests::{actors::servers, daemon::process::Daemon};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::Scene;

#[test]
fn an_order_stands_over_reloads_and_crashes_and_ends_in_time() -> Result<()> {
    let mut scene = Scene::up()?;
    let server = servers::addresses(&scene.lab, servers::TCP)[0].to_string();
    let path = format!("/v1/orders/echo/{server}");
    let put = |scene: &Scene, body| scene.api.ask("PUT", &path, &[], Some(&body));
    let given = put(&scene, json!({"weight": 5}))?.expect(200)?;
    let said = format!("echo: backend {server}: weight 5 instead of 1");
    assert_eq!(given.body["changes"], json!([said]));
    assert_eq!(weight(&scene.daemon, &server)?, (5, false));
    assert_eq!(scene.reload()?, "nothing changes\n", "the file says another weight");
    scene.daemon.signal(Signal::SIGKILL)?;
    scene.daemon.wait()?;
    scene.daemon = Daemon::run(&scene.lab, &scene.lab.directory().join("lb.toml"))?;
    assert_eq!(weight(&scene.daemon, &server)?, (5, false));
    put(&scene, json!({"drain": true, "ttl_ms": 2000}))?.expect(200)?;
    assert_eq!(weight(&scene.daemon, &server)?, (1, true));
    assert_eq!(scene.api.get("/v1/orders")?.body["items"][0]["drain"], json!(true));
    scene.daemon.when("the order ends", |status| {
        let echo = status.service("echo");
        echo.is_some_and(|echo| echo.backends.iter().all(|backend| !backend.draining))
    })?;
    assert_eq!(scene.api.get("/v1/orders")?.body["items"], json!([]));
    scene.api.ask("DELETE", &path, &[], None)?.expect(404)?;
    for (path, body, code) in [
        (path.as_str(), json!({}), 422),
        (path.as_str(), json!({"weight": 1, "ttl_ms": 0}), 422),
        ("/v1/orders/echo/10.255.0.1:1", json!({"weight": 1}), 404),
        ("/v1/orders/nothing/10.255.0.1:1", json!({"weight": 1}), 404),
        ("/v1/orders/echo/somewhere", json!({"weight": 1}), 404),
    ] {
        scene.api.ask("PUT", path, &[], Some(&body))?.expect(code)?;
    }
    scene.close()
}

fn weight(daemon: &Daemon, server: &str) -> Result<(u16, bool)> {
    let status = daemon.status()?;
    let echo = status.service("echo").context("no echo")?;
    let backend = echo.backends.iter().find(|backend| backend.address == server);
    backend.map(|backend| (backend.weight, backend.draining)).context("no such backend")
}
