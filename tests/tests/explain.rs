//! What the operator can ask about single packets and flows: `lb flows`, `explain`, `trace`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::process,
    lab::{
        process::{Process, output, poll, program},
        stage::{Stage, listed},
        topology::{CLIENT4, CLIENT6, Lab, VIP4, VIP6},
    },
};
use nix::sys::signal::Signal;
use serde_json::Value;

const STEERED: u16 = 7000;
const PROXIED: u16 = 8080;
const DEAD: u16 = 7100;

fn services(lab: &Lab) -> Result<String> {
    let tcp = listed(&servers::addresses(lab, servers::TCP));
    let http = listed(&servers::addresses(lab, servers::HTTP));
    let dead = listed(&servers::addresses(lab, 9));
    Ok(format!(
        r#"
[[services]]
name = "raw"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {STEERED} }}]
load_balancer.servers = [{tcp}]

[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {PROXIED}, handlers = ["http"] }}]
load_balancer.servers = [{http}]

[[services]]
name = "blog"
hostnames = ["blog.example.com"]
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {PROXIED}, handlers = ["http"] }}]
load_balancer.servers = [{http}]

[[services]]
name = "dead"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {DEAD} }}]
load_balancer.servers = [{dead}]
load_balancer.health_check = {{ interval = "100ms", timeout = "100ms" }}
"#
    ))
}

fn stage() -> Result<Stage> {
    let stage = Stage::up(services)?;
    stage.daemon.when("the dead service is down", |status| {
        let dead = status.service("dead");
        dead.is_some_and(|dead| dead.backends.iter().all(|backend| !backend.up))
    })?;
    Ok(stage)
}

fn lb(stage: &Stage, arguments: &str) -> Result<Command> {
    let mut lb = stage.lab.lb.command(program("lb")?);
    lb.args(arguments.split_whitespace()).arg("--socket").arg(process::socket(&stage.lab));
    Ok(lb)
}

fn ask(stage: &Stage, arguments: &str) -> Result<Value> {
    let text = output(lb(stage, arguments)?.arg("--json"))?;
    serde_json::from_str(&text).with_context(|| format!("`lb {arguments}` printed {text}"))
}

fn explain(stage: &Stage, from: SocketAddr, to: SocketAddr, more: &str) -> Result<Value> {
    ask(stage, &format!("explain --from {from} --to {to} {more}"))
}

fn vips(port: u16) -> [SocketAddr; 2] {
    [(VIP4, port).into(), (VIP6, port).into()]
}

fn clients(port: u16) -> [SocketAddr; 2] {
    [(CLIENT4, port).into(), (CLIENT6, port).into()]
}

/// A connection from a port of our choice.
fn connect(stage: &Stage, from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    stage.lab.client.within(|| {
        let domain = socket2::Domain::for_address(from);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.bind(&from.into())?;
        socket.connect(&to.into())?;
        anyhow::Ok(socket.into())
    })?
}

/// The name of the server that answers.
fn who(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"hello\n")?;
    // All of it: what is left unread would make the end of the connection a RST.
    let mut answer = [0; "b1 hello\n".len()];
    stream.read_exact(&mut answer)?;
    let answer = String::from_utf8(answer.to_vec())?;
    Ok(answer.strip_suffix(" hello\n").with_context(|| format!("heard {answer:?}"))?.to_owned())
}

/// The backend that has an address.
fn name_at<'a>(stage: &'a Stage, address: &Value) -> Result<&'a str> {
    let address: SocketAddr = address.as_str().context("an address")?.parse()?;
    let backends = &mut stage.lab.backends.iter();
    let at = backends.find(|backend| backend.addresses().contains(&address.ip()));
    Ok(&at.context("a backend")?.name)
}

#[test]
fn a_packet_is_explained_as_it_then_goes() -> Result<()> {
    let stage = stage()?;
    for (from, to) in clients(41_000).into_iter().zip(vips(STEERED)) {
        for port in 41_000..41_012 {
            let from = SocketAddr::new(from.ip(), port);
            let told = explain(&stage, from, to, "")?;
            assert_eq!(told["verdict"], "steer", "{told}");
            assert_eq!(told["flow"], "new", "{told}");
            assert_eq!(told["service"], "raw", "{told}");
            assert_eq!(told["leaves"]["interface"], "down0", "{told}");
            assert_eq!(told["leaves"]["to"], told["backend"], "{told}");
            assert_eq!(told["leaves"]["from"], told["source"], "{told}");
            let [slot, length] = [0, 1].map(|part| told["ring_slot"][part].as_u64());
            assert!(slot < length && length.is_some(), "{told}");
            let mut stream = connect(&stage, from, to)?;
            let peer = who(&mut stream)?;
            assert_eq!(peer, name_at(&stage, &told["backend"])?, "{told}");
            // Asked again, it is a known flow's, with the source port that was foretold.
            let known = explain(&stage, from, to, "--flags ack")?;
            assert_eq!(known["flow"], "established", "{known}");
            assert_eq!(known["backend"], told["backend"], "{known}");
            assert_eq!(known["source"], told["source"], "{known}");
            // And from the other side.
            let [backend, source] = ["backend", "source"]
                .map(|end| known[end].as_str().and_then(|end| end.parse::<SocketAddr>().ok()));
            let (backend, source) = (backend.context("backend")?, source.context("source")?);
            let back = explain(&stage, backend, source, "--flags ack --interface down0")?;
            assert_eq!(back["leaves"]["to"], from.to_string(), "{back}");
            assert_eq!(back["leaves"]["from"], to.to_string(), "{back}");
            assert_eq!(back["leaves"]["interface"], "up0", "{back}");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_steered_is_explained_too() -> Result<()> {
    let stage = stage()?;
    for (family, from) in clients(42_000).into_iter().enumerate() {
        let to = |port| vips(port)[family];
        let told = explain(&stage, from, to(81), "")?;
        assert_eq!(
            (&told["verdict"], &told["reason"]),
            (&"drop".into(), &"undeclared_port".into())
        );
        assert!(told["advice"].as_str().is_some_and(|advice| advice.contains("ports")), "{told}");
        let told = explain(&stage, from, to(PROXIED), "")?;
        assert_eq!((&told["verdict"], &told["service"]), (&"proxy".into(), &"web".into()));
        let told = explain(&stage, from, to(DEAD), "")?;
        assert_eq!(told["reason"], "no_backend", "{told}");
        assert_eq!(told["service"], "dead", "{told}");
        let told = explain(&stage, from, to(STEERED), "--flags ack")?;
        assert_eq!(
            (&told["verdict"], &told["reason"]),
            (&"answer".into(), &"unknown_flow_reset".into())
        );
        let told = explain(&stage, from, to(STEERED), "--flags rst")?;
        assert_eq!((&told["verdict"], &told["reason"]), (&"drop".into(), &"unknown_flow".into()));
        let told = explain(&stage, from, SocketAddr::new(from.ip(), 1), "--proto udp")?;
        assert_eq!(told["verdict"], "pass", "{told}");
        let told = explain(&stage, from, to(0), "--proto icmp")?;
        assert_eq!(told["verdict"], "reply", "{told}");
    }
    let text = output(&mut lb(&stage, &format!("explain --from {CLIENT4}:1 --to {VIP4}:81"))?)?;
    assert!(text.contains("verdict   dropped: undeclared_port"), "{text}");
    Ok(())
}

#[test]
fn flows_are_listed_and_selected() -> Result<()> {
    let stage = stage()?;
    let [from, from6] = clients(44_000);
    let [to, to6] = vips(STEERED);
    let mut held = connect(&stage, from, to)?;
    let server = who(&mut held)?;
    let mut held6 = connect(&stage, from6, to6)?;
    who(&mut held6)?;
    let all = ask(&stage, "flows")?;
    let flows = all["flows"].as_array().context("a list")?;
    assert_eq!(flows.len(), 2, "{all}");
    let ours = flows.iter().find(|flow| flow["client"] == from.to_string());
    let ours = ours.with_context(|| format!("{from} in {all}"))?;
    assert_eq!(name_at(&stage, &ours["backend"])?, server);
    assert_eq!(ours["state"], "established", "{all}");
    assert_eq!((&ours["service"], &ours["mode"]), (&"raw".into(), &"nat".into()), "{all}");
    assert!(ours["backend_idle_ms"].is_u64(), "{all}");
    let backend = ours["backend"].as_str().context("a backend")?;
    for (selection, count) in [
        (format!("--client {CLIENT4}"), 1),
        (format!("--client {CLIENT6}/64"), 1),
        ("--client 192.0.2.0/24".to_owned(), 0),
        (format!("--vip {VIP4}"), 1),
        (format!("--vip {to}"), 1),
        (format!("--vip {VIP4}:1"), 0),
        (format!("--backend {backend}"), 1),
        ("--service raw".to_owned(), 2),
        ("--service web".to_owned(), 0),
        ("--proto tcp".to_owned(), 2),
        ("--proto udp".to_owned(), 0),
        ("--state established".to_owned(), 2),
        ("--state closed".to_owned(), 0),
        ("--state half-open".to_owned(), 0),
    ] {
        let some = ask(&stage, &format!("flows {selection}"))?;
        assert_eq!(some["flows"].as_array().map(Vec::len), Some(count), "{selection}: {some}");
    }
    let one = ask(&stage, "flows --limit 1")?;
    assert_eq!(one["flows"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["more"], 1);
    drop((held, held6));
    poll("both are closed", || {
        let closed = ask(&stage, "flows --state closed")?;
        Ok(closed["flows"].as_array().map(Vec::len) == Some(2))
    })
}

/// The number of the program at an interface, as its kernel sees it.
fn program_at(stage: &Stage, interface: &str) -> Result<String> {
    let link: Value = serde_json::from_str(
        &stage.lab.lb.ip(&format!("-json -details link show dev {interface}"))?,
    )?;
    Ok(link[0]["xdp"]["prog"]["name"].to_string())
}

#[test]
fn a_trace_shows_a_connection_and_leaves_nothing() -> Result<()> {
    let stage = stage()?;
    let [from, _] = clients(45_000);
    let [to, _] = vips(STEERED);
    assert!(program_at(&stage, "up0")?.contains("lb_xdp"));
    let log = stage.lab.directory().join("trace.log");
    let trace = lb(&stage, &format!("trace --json --client {CLIENT4} --service raw"))?;
    let mut trace = Process::start("lb trace", trace, &log)?;
    poll("the trace has begun", || {
        trace.check()?;
        Ok(trace.output().contains("tracing"))
    })?;
    assert!(program_at(&stage, "up0")?.contains("lb_trace"));
    let mut stream = connect(&stage, from, to)?;
    let server = who(&mut stream)?;
    drop(stream);
    let mut seen = Vec::new();
    poll("the connection's end is traced", || {
        let text = trace.output();
        let lines = text.lines().filter(|line| line.starts_with('{'));
        seen = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
        Ok(seen.iter().filter(|line| line["closing"] == true).count() >= 2)
    })
    .with_context(|| trace.output())?;
    assert_eq!(seen[0]["flow"], "new", "{seen:?}");
    assert_eq!(seen[0]["from"], from.to_string(), "{seen:?}");
    assert_eq!(seen[0]["flags"], 2, "{seen:?}");
    assert!(seen.iter().any(|line| line["flow"] == "promoted"), "{seen:?}");
    assert!(seen.iter().any(|line| line["from"] == line["backend"]), "{seen:?}");
    for line in &seen {
        assert_eq!(line["verdict"], "steer", "{line}");
        assert_eq!(name_at(&stage, &line["backend"])?, server, "{line}");
    }
    // One at a time.
    let second = lb(&stage, "trace --count 1")?.output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    ensure!(!second.status.success() && said.contains("one at a time"), "{said}");
    trace.signal(Signal::SIGKILL)?;
    poll("the balancer is back", || {
        Ok(["up0", "down0"].iter().all(|interface| {
            program_at(&stage, interface).is_ok_and(|name| name.contains("lb_xdp"))
        }))
    })?;
    Talk::open(&stage.lab.client, to)?.echo()?;
    // And can be traced again.
    let log = stage.lab.directory().join("again.log");
    let again = lb(&stage, "trace --count 3")?;
    let mut again = Process::start("lb trace", again, &log)?;
    poll("it ends by itself", || {
        Talk::open(&stage.lab.client, to)?.echo()?;
        Ok(again.output().lines().filter(|line| line.contains("raw")).count() >= 3)
    })
    .with_context(|| again.output())?;
    assert!(again.wait()?.success(), "{}", again.output());
    stage.stop()
}

#[test]
fn frames_without_addresses_are_traced_by_their_type() -> Result<()> {
    let stage = stage()?;
    let log = stage.lab.directory().join("trace.log");
    let mut trace = Process::start("lb trace", lb(&stage, "trace")?, &log)?;
    poll("an ARP request is traced", || {
        trace.check()?;
        stage.lab.client.ip("neigh flush dev eth0")?;
        Talk::open(&stage.lab.client, (VIP4, STEERED).into())?.echo()?;
        Ok(trace.output().lines().any(|line| line.contains("arp, 42 bytes, in by up0: pass")))
    })
    .with_context(|| trace.output())?;
    trace.signal(Signal::SIGTERM)?;
    trace.wait()?;
    ensure!(!trace.output().contains("100::1"), "{}", trace.output());
    stage.stop()
}

/// Nothing is shown in silence, and nothing said but what is wrong.
#[test]
fn questions_without_an_answer_are_refused() -> Result<()> {
    let stage = stage()?;
    let [from, to] = [clients(46_000)[0], vips(STEERED)[0]];
    let explain = format!("explain --from {from} --to {to}");
    for (question, answer) in [
        ("flows --service nope", "there is no service \"nope\""),
        ("trace --service nope", "there is no service \"nope\""),
        (&*format!("{explain} --interface lo"), "lb is not on lo and sees"),
        (&*format!("{explain} --size 10"), "at least 40"),
    ] {
        let out = lb(&stage, question)?.output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(!out.status.success() && said.contains(answer), "{question}: {said}");
        ensure!(said.starts_with("error: ") && !said.contains("cannot ask"), "{question}: {said}");
    }
    let shared = ask(&stage, &format!("explain --from {from} --to {}", vips(PROXIED)[0]))?;
    ensure!(shared["service"] == "web" && shared["sharing"][0] == "blog", "{shared}");
    stage.stop()
}
