//! WebSocket: as an upgrade of HTTP/1.1, and as a stream of HTTP/2.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::certificates::issue,
    lab::{
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::{APP, VIPS, python_client, python_server};

const WEBSOCKET: u16 = 9001;

fn service(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP])?.toml();
    let server = SocketAddr::new(lab.backends[0].v4.into(), WEBSOCKET);
    Ok(format!(
        r#"{certificate}[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = 80, handlers = ["http"] }}, {{ port = 443, handlers = ["tls", "http"] }}]
load_balancer.servers = [{{ address = "{server}" }}]
"#
    ))
}

#[test]
fn messages_pass_both_ways_by_every_way_in() -> Result<()> {
    let stage = Stage::up(service)?;
    let _server = python_server(&stage.lab, "websocket_server.py", WEBSOCKET)?;
    let trusted = stage.lab.directory().join("app.pem");
    let trusted = trusted.to_str().context("a path in UTF-8")?;
    for vip in VIPS {
        let said = python_client(&stage.lab, "websocket_client.py", &[&vip.to_string(), trusted])?;
        assert_eq!(said, "ok\n", "{vip}");
    }
    stage.daemon.when_quiet()?;
    stage.stop()
}
