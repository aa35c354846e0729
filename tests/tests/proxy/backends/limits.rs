//! Limits of backends and services, with the kernel's counts among them.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, header},
        servers,
    },
    daemon::status::Status,
    lab::{
        process::{Process, poll},
        stage::{Stage, listed, service},
        topology::{Lab, VIP4, vips},
    },
};

const STEERED: u16 = 8081;
const IMPATIENT: u16 = 8082;
const RELAYED: u16 = 8083;

/// One server behind services of every kind, two connections at a time.
fn sharing(lab: &Lab) -> String {
    let server = listed(&[SocketAddr::new(lab.backends[0].v4.into(), servers::HTTP)]);
    let service = |name: &str, port: u16, handlers: &str, queue: &str| {
        format!(
            "[[services]]\nname = \"{name}\"\naddresses = [\"{VIP4}\"]\n\
             concurrency.hard_limit = 2\n{queue}\nports = [{{ port = {port}{handlers} }}]\n\
             load_balancer.servers = [{server}]\n\n"
        )
    };
    let http = ", handlers = [\"http\"]";
    service("web", 80, http, "queue = { length = 1000, timeout = \"60s\" }")
        + &service("impatient", IMPATIENT, http, "queue = { length = 1, timeout = \"50ms\" }")
        + &service("relayed", RELAYED, ", handlers = [\"proxy_proto\"]", "queue = { length = 0 }")
        + &service("steered", STEERED, "", "")
}

fn open(stage: &Stage, port: u16) -> Result<Stream> {
    let [address, _] = vips(port);
    stage.lab.client.within(|| Stream::connect(address))?
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.example.test\r\n\r\n")
}

/// A response's body of `length` bytes.
fn body(client: &mut Stream, length: usize) -> Result<String> {
    let head = client.head()?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    client.take(length)
}

/// What the server has, whoever brought it.
fn live(status: &Status) -> u64 {
    service(status, "web").map_or(0, |web| web.backends[0].live)
}

#[test]
fn what_is_steered_to_a_backend_keeps_requests_waiting_in_turn() -> Result<()> {
    let stage = Stage::up(|lab| Ok(sharing(lab)))?;
    let (first, second) = (open(&stage, STEERED)?, open(&stage, STEERED)?);
    stage.daemon.when("both flows count", |it| live(it) == 2)?;
    let mut waiting = Vec::new();
    for number in 1..=5 {
        let mut client = open(&stage, 80)?;
        client.send(&request("/number"))?;
        waiting.push(client);
        let is_taken = |it: &Status| service(it, "web").is_ok_and(|web| web.requests == number);
        stage.daemon.when("the request is taken", is_taken)?;
    }
    let status = stage.daemon.status()?;
    ensure!(service(&status, "web")?.connections() == 0, "it went to a full backend: {status:?}");

    let refused = open(&stage, IMPATIENT)?.ask(&request("/"))?;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(header(&refused, "fly-error"), Some("queue-timeout"));
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    assert_eq!(open(&stage, RELAYED)?.rest()?, "", "nobody waits there: the connection is closed");

    // There is room for one at a time, and the order is that of coming.
    drop(first);
    for (number, client) in (1..).zip(&mut waiting) {
        assert_eq!(body(client, 1)?, number.to_string());
    }
    drop(second);
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn what_is_proxied_to_a_backend_keeps_flows_away() -> Result<()> {
    let stage = Stage::up(|lab| Ok(sharing(lab)))?;
    let mut held = [open(&stage, 80)?, open(&stage, 80)?];
    for client in &mut held {
        client.send(&request("/hold"))?;
        let head = client.head()?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    stage.daemon.when("both requests count", |it| live(it) == 2)?;
    let error = open(&stage, STEERED).err().context("the backend is at its hard limit")?;
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "{error:#}");
    stage.release()?;
    stage.daemon.when("both have ended", |it| live(it) == 0)?;
    let mut steered = open(&stage, STEERED)?;
    steered.send(&request("/number"))?;
    assert_eq!(body(&mut steered, 1)?, "1");
    drop(steered);
    drop(held);
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn a_crowd_is_served_by_two_at_a_time() -> Result<()> {
    let stage = Stage::up(|lab| Ok(sharing(lab)))?;
    let mut load = stage.lab.client.command("h2load");
    load.args(["--h1", "--requests", "300", "--clients", "50"]);
    load.arg(format!("http://{VIP4}/delay/1"));
    let log = stage.lab.directory().join("h2load.log");
    let mut load = Process::start("h2load", load, &log)?;
    let mut most = 0;
    poll("all is served", || {
        let status = stage.daemon.status()?;
        most = most.max(live(&status));
        Ok(service(&status, "web")?.requests == 300 && status.live() == 0)
    })?;
    load.wait()?;
    let said = load.output();
    assert!(said.contains("300 succeeded, 0 failed"), "{said}");
    assert_eq!(most, 2, "never more than the limit, and it was reached");
    assert_eq!(service(&stage.daemon.status()?, "web")?.failed, 0);
    stage.stop()
}
