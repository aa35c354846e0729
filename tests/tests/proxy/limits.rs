//! Limits of backends and services, with the kernel's counts among them.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lb_tests::{
    client::Stream,
    process::{Process, poll},
    servers,
    stage::{Stage, listed, service},
    topology::{Lab, VIP4, vips},
};

const STEERED: u16 = 8081;

/// One server behind a proxied service and a steered one.
fn sharing(lab: &Lab) -> String {
    let server = listed(&[SocketAddr::new(lab.backends[0].v4.into(), servers::HTTP)]);
    let addresses = format!("addresses = [\"{VIP4}\"]");
    format!(
        "[[services]]\nname = \"web\"\n{addresses}\nconcurrency.hard_limit = 2\n\
         queue = {{ length = 1000, timeout = \"60s\" }}\n\
         ports = [{{ port = 80, handlers = [\"http\"] }}]\n\
         load_balancer.servers = [{server}]\n\n\
         [[services]]\nname = \"steered\"\n{addresses}\nports = [{{ port = {STEERED} }}]\n\
         load_balancer.servers = [{server}]\n"
    )
}

#[test]
fn what_is_steered_to_a_backend_keeps_requests_waiting() -> Result<()> {
    let stage = Stage::up(|lab| Ok(sharing(lab)))?;
    let [steered, _] = vips(STEERED);
    let open = || stage.lab.client.within(|| Stream::connect(steered));
    let (first, second) = (open()??, open()??);
    let live =
        |count: u64| move |status: &lb_tests::status::Status| status.live_on("steer") == count;
    stage.daemon.when("both flows count", live(2))?;
    let mut curl = stage.lab.client.command("curl");
    curl.args(["--silent", "--fail", &format!("http://{VIP4}/")]);
    let mut curl = Process::start("curl", curl, &stage.lab.directory().join("curl.log"))?;
    stage.daemon.when("the request is taken", |status| {
        service(status, "web").is_ok_and(|web| web.requests == 1)
    })?;
    let status = stage.daemon.status()?;
    ensure!(service(&status, "web")?.connections() == 0, "it went to a full backend: {status:?}");
    curl.check()?;
    drop(first);
    let ended = curl.wait()?;
    assert!(ended.success(), "{ended}: {}", curl.output());
    assert!(curl.output().contains("\"server\":\"b1\""), "{}", curl.output());
    drop(second);
    stage.daemon.when_quiet()?;
    stage.stop()
}

#[test]
fn a_crowd_is_served_by_two_at_a_time() -> Result<()> {
    let stage = Stage::up(|lab| Ok(sharing(lab)))?;
    let mut load = stage.lab.client.command("h2load");
    load.args(["--h1", "--requests", "1000", "--clients", "50"]);
    load.arg(format!("http://{VIP4}/delay/1"));
    let log = stage.lab.directory().join("h2load.log");
    let mut load = Process::start("h2load", load, &log)?;
    let mut most = 0;
    poll("all is served", || {
        let status = stage.daemon.status()?;
        most = most.max(status.live_on("proxy"));
        Ok(service(&status, "web")?.requests == 1000 && status.live() == 0)
    })?;
    load.wait()?;
    let said = load.output();
    assert!(said.contains("1000 succeeded, 0 failed"), "{said}");
    assert_eq!(most, 2, "never more than the limit, and it was reached");
    assert_eq!(service(&stage.daemon.status()?, "web")?.failed, 0);
    stage.stop()
}
