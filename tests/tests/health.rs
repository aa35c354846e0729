//! Health checks: who fails them leaves rotation in the kernel and in the proxy, and comes back.

use std::{collections::BTreeSet, io::Write as _, net::TcpStream, process::Command};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, curl, header, tcp_echo},
        servers,
    },
    daemon::process::socket,
    lab::{
        process::{Process, output, poll, program},
        stage::{Stage, listed, service},
        topology::{Lab, VIP4, VIP6},
    },
};
use nix::sys::signal::Signal;

const STEERED: u16 = 9000;
/// The backend that fails, and its name.
const SICK: usize = 1;
const NAME: &str = "b2";

/// A steered port and a proxied one that share servers and their checks.
fn checked(lab: &Lab, port: u16, proxied: &str, check: &str) -> String {
    let servers = listed(&servers::addresses(lab, port));
    format!(
        r#"[proxy]
response_header_timeout = "5s"

[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{proxied}{{ port = {STEERED} }}]
load_balancer.servers = [{servers}]
load_balancer.health_check = {{ interval = "200ms", {check} }}
"#
    )
}

fn by_http(lab: &Lab) -> Result<String> {
    let proxied = r#"{ port = 80, handlers = ["http"] }, "#;
    let check =
        r#"path = "/healthz", timeout = "3s", unhealthy_threshold = 2, healthy_threshold = 3"#;
    Ok(checked(lab, servers::HTTP, proxied, check))
}

/// What `lb status` says of each of a backend's addresses.
fn states(stage: &Stage, index: usize) -> Result<Vec<bool>> {
    let status = stage.daemon.status()?;
    let here = stage.lab.backends[index].addresses().map(|address| address.to_string());
    let backends = service(&status, "web")?.backends.iter();
    let here = backends.filter(|backend| here.iter().any(|it| backend.address.contains(it)));
    Ok(here.map(|backend| backend.up).collect())
}

fn wait_until(stage: &Stage, index: usize, up: bool) -> Result<()> {
    poll(&format!("backend {index} is up: {up}"), || Ok(states(stage, index)? == [up, up]))
        .with_context(|| stage.daemon.log())
}

/// Who answers `count` requests, each over a connection of its own. Fails when one does.
fn answering(stage: &Stage, port: u16, count: u32) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for address in [VIP4.to_string(), format!("[{VIP6}]")] {
        let mut curl = stage.lab.client.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--globoff"])
            .args(["--header", "Connection: close", "--max-time", "20"])
            .args(["--write-out", "%header{x-backend}\n"]);
        for number in 0..count {
            curl.args(["--output", "/dev/null", &format!("http://{address}:{port}/{number}")]);
        }
        names.extend(output(&mut curl)?.lines().map(str::to_owned));
    }
    Ok(names)
}

/// That all requests on both paths are answered, by others than the sick backend.
fn assert_out_of_rotation(stage: &Stage) -> Result<()> {
    // The kernel's tables follow the status a moment later.
    poll("the kernel steers around it", || {
        Ok(answering(stage, STEERED, 10).is_ok_and(|names| !names.contains(NAME)))
    })?;
    let failed = service(&stage.daemon.status()?, "web")?.failed;
    for port in [80, STEERED] {
        let names = answering(stage, port, 30)?;
        assert_eq!(names.iter().collect::<Vec<_>>(), ["b1", "b3"], "port {port}");
    }
    assert_eq!(service(&stage.daemon.status()?, "web")?.failed, failed);
    Ok(())
}

fn assert_in_rotation(stage: &Stage) -> Result<()> {
    for port in [80, STEERED] {
        poll(&format!("{NAME} is back at port {port}"), || {
            Ok(answering(stage, port, 10)?.contains(NAME))
        })?;
    }
    Ok(())
}

/// Connections of which each backend has some: that one of three has none is as likely as one in
/// ten million runs.
const ENOUGH: usize = 48;

/// Steered connections that are open already.
fn established(stage: &Stage, count: usize) -> Result<Vec<(Stream, String)>> {
    let open = || (0..count).map(|_| Stream::connect((VIP4, STEERED).into()));
    let streams = stage.lab.client.within(|| open().collect::<Result<Vec<_>>>())??;
    streams.into_iter().map(|mut stream| ask(&mut stream).map(|name| (stream, name))).collect()
}

/// The backend is down, and `on_backend_down` says `reset` where it says nothing.
fn assert_reset(stream: &mut Stream) {
    let error = ask(stream).expect_err("the flow's backend is down");
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset), "{error:#}");
}

/// Asks over an open connection who is there.
fn ask(stream: &mut Stream) -> Result<String> {
    let head = stream.ask("HEAD / HTTP/1.1\r\nHost: any\r\n\r\n")?;
    Ok(header(&head, "x-backend").context("no name")?.to_owned())
}

#[test]
fn who_answers_500_or_nothing_leaves_and_comes_back() -> Result<()> {
    let stage = Stage::up(by_http)?;
    assert_in_rotation(&stage)?;
    let mut streams = established(&stage, ENOUGH)?;
    let names: BTreeSet<_> = streams.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names.len(), 3, "{names:?}");

    stage.ask_backend(SICK, "/healthz/500")?;
    wait_until(&stage, SICK, false)?;
    assert_out_of_rotation(&stage)?;
    for (stream, name) in &mut streams {
        match &**name {
            NAME => assert_reset(stream),
            _ => assert_eq!(ask(stream)?, *name),
        }
    }
    let mut lb = Command::new(program("lb")?);
    let table = output(lb.args(["status", "--socket"]).arg(socket(&stage.lab)))?;
    let sick = stage.lab.backends[SICK].v4.to_string();
    let line = table.lines().find(|line| line.contains(&sick)).context("no line")?;
    assert!(line.contains("down"), "{table}");
    assert!(stage.daemon.log().contains("answered 500"), "{}", stage.daemon.log());
    stage.ask_backend(SICK, "/healthz/200")?;
    wait_until(&stage, SICK, true)?;
    assert_in_rotation(&stage)?;

    stage.servers[SICK].signal(Signal::SIGSTOP)?;
    wait_until(&stage, SICK, false)?;
    assert_out_of_rotation(&stage)?;
    for (stream, name) in streams.iter_mut().filter(|(_, name)| name != NAME) {
        assert_eq!(ask(stream)?, *name);
    }
    stage.servers[SICK].signal(Signal::SIGCONT)?;
    wait_until(&stage, SICK, true)?;
    assert_in_rotation(&stage)?;
    for (stream, name) in streams.iter_mut().filter(|(_, name)| name != NAME) {
        assert_eq!(ask(stream)?, *name);
    }
    stage.stop()
}

#[test]
fn who_is_killed_leaves_and_comes_back() -> Result<()> {
    let mut stage = Stage::up(by_http)?;
    assert_in_rotation(&stage)?;
    let mut streams = established(&stage, ENOUGH)?;
    stage.servers[SICK].signal(Signal::SIGKILL)?;
    stage.servers[SICK].wait()?;
    wait_until(&stage, SICK, false)?;
    assert_out_of_rotation(&stage)?;
    for (stream, name) in streams.iter_mut().filter(|(_, name)| name != NAME) {
        assert_eq!(ask(stream)?, *name);
    }
    stage.servers[SICK] = servers::start(&stage.lab, &stage.lab.backends[SICK])?;
    wait_until(&stage, SICK, true)?;
    assert_in_rotation(&stage)?;
    drop(streams);
    poll("every count is back at 0", || Ok(stage.daemon.status()?.live() == 0))?;
    stage.stop()
}

#[test]
fn who_is_killed_under_load_fails_only_what_it_had_in_hand() -> Result<()> {
    const CONNECTIONS: u64 = 32;
    let mut stage = Stage::up(by_http)?;
    let mut wrk = stage.lab.client.command("wrk");
    wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--duration", "10m"]);
    wrk.arg(format!("http://{VIP4}/bytes/100"));
    let mut wrk = Process::start("wrk", wrk, &stage.lab.directory().join("wrk.log"))?;
    poll("the load has begun", || {
        Ok(service(&stage.daemon.status()?, "web")?.requests > 10 * CONNECTIONS)
    })?;
    stage.servers[SICK].signal(Signal::SIGKILL)?;
    stage.servers[SICK].wait()?;
    wait_until(&stage, SICK, false)?;
    let status = stage.daemon.status()?;
    let (failed, so_far) = (service(&status, "web")?.failed, service(&status, "web")?.requests);
    ensure!(failed <= CONNECTIONS, "{failed} failed");
    poll("the load goes on", || {
        wrk.check()?;
        Ok(service(&stage.daemon.status()?, "web")?.requests > so_far + 10 * CONNECTIONS)
    })?;
    wrk.signal(Signal::SIGINT)?;
    assert!(wrk.wait()?.success());
    let text = wrk.output();
    assert!(!text.contains("Socket errors"), "{text}");
    let count = text.split_once("Non-2xx or 3xx responses: ").map(|(_, rest)| rest.trim());
    let count = count.and_then(|rest| rest.lines().next()).map_or(Ok(0), str::parse::<u64>)?;
    assert_eq!(count, failed, "none after it was out: {text}");
    assert_eq!(service(&stage.daemon.status()?, "web")?.failed, failed);
    stage.stop()
}

#[test]
fn when_all_are_down_clients_are_told() -> Result<()> {
    let stage = Stage::up(by_http)?;
    let mut streams = established(&stage, 6)?;
    for index in 0..3 {
        stage.ask_backend(index, "/healthz/503")?;
    }
    for index in 0..3 {
        wait_until(&stage, index, false)?;
    }
    for address in [VIP4.to_string(), format!("[{VIP6}]")] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let url = format!("http://{address}/");
            let answer = curl(&stage.lab.client, &["--include", version, "--globoff", &url])?;
            assert_eq!(answer.status, 503);
            assert!(answer.body.contains("fly-error: no-backend-up"), "{}", answer.body);
            assert!(answer.body.contains("no backend is up"), "{}", answer.body);
        }
        let dropped = || -> Result<u64> {
            let drops = stage.daemon.status()?.drops;
            let drop = drops.into_iter().find(|drop| drop.reason == "no_backend");
            Ok(drop.context("no such reason")?.packets)
        };
        let before = dropped()?;
        let url = format!("http://{address}:{STEERED}/");
        poll("a steered connection is dropped for want of a backend", || {
            let answer = curl(&stage.lab.client, &["--globoff", "--connect-timeout", "2", &url]);
            Ok(answer.is_err() && dropped()? > before)
        })?;
        let address = address.trim_matches(['[', ']']);
        output(stage.lab.client.command("ping").args(["-c", "1", "-W", "20", address]))?;
    }
    for (stream, _) in &mut streams {
        assert_reset(stream);
    }
    for index in 0..3 {
        stage.ask_backend(index, "/healthz/200")?;
        wait_until(&stage, index, true)?;
    }
    assert_in_rotation(&stage)?;
    stage.stop()
}

/// Open files that the daemon may have: its own take about half.
const FEW: u32 = 256;

/// k3s-io/k3s#10240, ozontech/pg_doorman#262: a balancer that ran out of descriptors took all its
/// servers down.
#[test]
fn who_runs_out_of_files_takes_nobody_down() -> Result<()> {
    // A client that is gone looks like one that waits for its answer: not for long, here.
    let briefly = "[proxy]\ntermination_delay = \"100ms\"";
    let services = |lab: &Lab| Ok(by_http(lab)?.replace("[proxy]", briefly));
    let stage = Stage::up_short_of_files(FEW, services)?;
    let mut streams = established(&stage, ENOUGH)?;
    let connect = || -> Result<Vec<TcpStream>> {
        let one = |_| {
            let mut stream = TcpStream::connect((VIP4, 80))?;
            stream.write_all(b"GET /hold HTTP/1.1\r\nHost: any\r\n\r\n")?;
            Ok(stream)
        };
        (0..2 * FEW).map(one).collect()
    };
    let crowd = stage.lab.client.within(connect)??;
    stage.daemon.when("clients wait", |status| status.undone("accepting_paused") > 0)?;
    assert!(stage.daemon.log().contains("clients wait to be accepted"), "{}", stage.daemon.log());
    goes_on_checking(&stage, &mut streams)?;
    drop(crowd);
    stage.release()?;
    // Those that were accepted late ask only now, and may still wait for their answers.
    poll("clients are accepted again", || {
        stage.release()?;
        Ok(answering(&stage, 80, 3).is_ok_and(|names| !names.is_empty()))
    })?;

    // Each stream of one connection wants a connection to a server.
    let mut h2load = stage.lab.client.command("h2load");
    h2load.args(["-n", "600", "-c", "6", "-m", "100", &format!("http://{VIP4}/hold")]);
    let log = stage.lab.directory().join("h2load.log");
    let mut h2load = Process::start("h2load", h2load, &log)?;
    stage.daemon.when("no descriptor is left for servers", |status| {
        status.undone("connections_to_servers") > 0
    })?;
    goes_on_checking(&stage, &mut streams)?;
    poll("all are answered", || {
        stage.release()?;
        Ok(h2load.output().contains("status codes:"))
    })?;
    h2load.wait()?;
    let said = h2load.output();
    assert!(said.contains(" 0 3xx, 0 4xx, ") && !said.contains(" 0 5xx"), "{said}");
    assert_eq!(stage.daemon.status()?.undone("health_checks"), 0, "they have their own");
    assert_in_rotation(&stage)?;
    stage.stop()
}

/// Who is sick is found, the others stay, with all connections that they have.
fn goes_on_checking(stage: &Stage, streams: &mut [(Stream, String)]) -> Result<()> {
    // The last one's turn comes after all others', twice.
    for (status, up) in [(500, false), (200, true)] {
        stage.ask_backend(SICK, &format!("/healthz/{status}"))?;
        wait_until(stage, SICK, up)?;
        let status = stage.daemon.status()?;
        let others = service(&status, "web")?.backends.iter().filter(|it| !it.up).count();
        assert_eq!(others, if up { 0 } else { 2 }, "{status:?}");
    }
    for (stream, name) in streams.iter_mut().filter(|(_, name)| name != NAME) {
        assert_eq!(ask(stream)?, *name);
    }
    Ok(())
}

#[test]
fn a_connection_is_check_enough_without_a_path() -> Result<()> {
    let mut stage = Stage::up(|lab| Ok(checked(lab, servers::TCP, "", "timeout = \"3s\"")))?;
    let names = |stage: &Stage| -> Result<BTreeSet<String>> {
        let echo = |number| tcp_echo((VIP4, STEERED).into(), &format!("{number}"));
        stage.lab.client.within(|| (0..30).map(echo).collect())?
    };
    assert_eq!(names(&stage)?.len(), 3);
    stage.servers[SICK].signal(Signal::SIGKILL)?;
    stage.servers[SICK].wait()?;
    wait_until(&stage, SICK, false)?;
    ensure!(stage.daemon.log().contains("cannot connect"), "{}", stage.daemon.log());
    poll("the kernel steers around it", || {
        Ok(names(&stage).is_ok_and(|names| !names.contains(NAME)))
    })?;
    assert_eq!(names(&stage)?.into_iter().collect::<Vec<_>>(), ["b1", "b3"]);
    stage.servers[SICK] = servers::start(&stage.lab, &stage.lab.backends[SICK])?;
    wait_until(&stage, SICK, true)?;
    poll("it is back", || Ok(names(&stage)?.contains(NAME)))?;
    stage.stop()
}
