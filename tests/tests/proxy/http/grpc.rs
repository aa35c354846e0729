//! gRPC, which needs HTTP/2 on both sides, trailers, and both directions at once.

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

const GRPC: u16 = 9000;

fn service(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP])?.toml();
    let server = SocketAddr::new(lab.backends[0].v4.into(), GRPC);
    Ok(format!(
        r#"{certificate}[[services]]
name = "grpc"
addresses = ["{VIP4}", "{VIP6}"]
load_balancer.servers = [{{ address = "{server}" }}]

  [[services.ports]]
  port = 443
  handlers = ["tls", "http"]
  http_options = {{ h2_backend = true }}

  [[services.ports]]
  port = 80
  handlers = ["http"]
  http_options = {{ h2_backend = true }}
"#
    ))
}

#[test]
fn every_kind_of_call_passes() -> Result<()> {
    let stage = Stage::up(service)?;
    let _server = python_server(&stage.lab, "grpc_server.py", GRPC)?;
    let trusted = stage.lab.directory().join("app.pem");
    let trusted = trusted.to_str().context("a path in UTF-8")?;
    for vip in VIPS {
        let at = |port| SocketAddr::new(vip, port).to_string();
        let said = python_client(&stage.lab, "grpc_client.py", &[&at(443), trusted])?;
        assert_eq!(said, "ok\n", "{vip} over TLS");
        assert_eq!(python_client(&stage.lab, "grpc_client.py", &[&at(80)])?, "ok\n", "{vip}");
    }
    let status = stage.daemon.when_quiet()?;
    assert_eq!(status.services[0].failed, 0);
    stage.stop()
}
