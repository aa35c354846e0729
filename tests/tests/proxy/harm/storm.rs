//! Many requests at a time, none of them failed.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{certificates::issue, servers},
    lab::{
        process::{output, poll},
        stage::{Stage, listed, service},
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::{APP, VIPS};

fn everybody(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[APP])?.toml();
    let servers = listed(&servers::addresses(lab, servers::HTTP));
    Ok(format!(
        r#"{certificate}[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [
  {{ port = 80, handlers = ["http"] }},
  {{ port = 443, handlers = ["tls", "http"], tls_options = {{ default_self_signed = true }} }},
  {{ port = 8443, handlers = ["tls"], tls_options = {{ default_self_signed = true }} }},
]
load_balancer.servers = [{servers}]
"#
    ))
}

/// 4 clients with 50 streams each.
fn h2load(stage: &Stage, vip: IpAddr, scheme: &str, port: u16) -> Result<u64> {
    const REQUESTS: u64 = 6000;
    // By name: h2load makes an `:authority` without brackets of an IPv6 address.
    let url = &format!("{scheme}://{APP}:{port}/bytes/100");
    let mut h2load = stage.lab.client.command("h2load");
    h2load.arg(format!("--connect-to={}", SocketAddr::new(vip, port)));
    h2load.args(["--requests", &REQUESTS.to_string(), "--clients", "4"]);
    let text = output(h2load.args(["--max-concurrent-streams", "50", url]))?;
    let all = format!(
        "requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, \
         0 failed, 0 errored, 0 timeout"
    );
    ensure!(text.contains(&all), "{url}: {text}");
    ensure!(text.contains(&format!("status codes: {REQUESTS} 2xx")), "{url}: {text}");
    Ok(REQUESTS)
}

fn wrk(stage: &Stage, url: &str) -> Result<u64> {
    let mut wrk = stage.lab.client.command("wrk");
    let text =
        output(wrk.args(["--threads", "2", "--connections", "40", "--duration", "3s", url]))?;
    ensure!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{url}: {text}");
    let line = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    Ok(line.context("wrk counted nothing")?.0.parse()?)
}

#[test]
fn no_request_fails_under_load() -> Result<()> {
    let stage = Stage::up(everybody)?;
    let mut relayed = 0;
    let mut answered = 0;
    for vip in VIPS {
        answered += h2load(&stage, vip, "https", 443)?;
        answered += h2load(&stage, vip, "http", 80)?;
        relayed += h2load(&stage, vip, "https", 8443)?;
        for (scheme, port) in [("http", 80), ("https", 443)] {
            let at = SocketAddr::new(vip, port);
            answered += wrk(&stage, &format!("{scheme}://{at}/bytes/100"))?;
        }
    }
    poll("every count is back at 0", || Ok(stage.daemon.status()?.live() == 0))?;
    let status = stage.daemon.status()?;
    let web = service(&status, "web")?;
    assert_eq!(web.failed, 0);
    // wrk hangs up amid its last requests; a relay is one connection, whatever goes through it.
    assert!(web.requests >= answered, "{} of {answered}, {relayed} relayed", web.requests);
    assert!(web.backends.iter().all(|backend| backend.connections > 0), "{:?}", web.backends);
    stage.stop()
}
