//! Both paths over native XDP, and every question that an operator may ask about them.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::programs;
use crate::{
    actors::{client::curl, servers, talk::Talk},
    daemon::{
        config::{service, steered},
        decap::Decap,
        process::{self, Daemon},
    },
    lab::{
        process::{Process, output, poll, program},
        topology::{CLIENT4, Lab, VIP4, vips},
    },
};

const STEERED: u16 = 7000;
const PROXIED: u16 = 8080;

pub(super) fn steering() -> Result<()> {
    let lab = Lab::up()?;
    let servers = servers::start_all(&lab)?;
    let services = steered("raw", "tcp", STEERED, &servers::addresses(&lab, servers::TCP))
        + &service(
            "web",
            "tcp",
            &format!("port = {PROXIED}, handlers = [\"http\"]"),
            &servers::addresses(&lab, servers::HTTP),
        );
    let daemon = Daemon::start(&lab, &services)?;
    for vip in vips(STEERED) {
        Talk::open(&lab.client, vip)?.echo_long(20_000)?;
    }
    for vip in vips(PROXIED) {
        let answer = curl(&lab.client, &[&format!("http://{vip}/bytes/20000")])?;
        ensure!((answer.status, answer.body.len()) == (200, 20_000), "{}", answer.status);
    }
    let status = daemon.status()?;
    ensure!(status.interfaces.iter().all(|it| it.mode == "native"), "{status:?}");
    ensure!(status.dropped_in_all() == 0, "{status:?}");
    explained(&lab)?;
    traced(&lab)?;
    // On a backend, for tunnels.
    let decap = Decap::start(&lab, &lab.backends[0], &[])?;
    programs::print()?;
    decap.stop()?;
    daemon.stop()?;
    let said = process::detach(&lab)?;
    ensure!(said.matches("(native)").count() == 2, "{said}");
    drop(servers);
    Ok(())
}

fn ask(lab: &Lab, arguments: &str) -> Result<Command> {
    let mut lb = lab.lb.command(program("lb")?);
    lb.args(arguments.split_whitespace()).arg("--socket").arg(process::socket(lab));
    Ok(lb)
}

fn explained(lab: &Lab) -> Result<()> {
    let to = SocketAddr::from((VIP4, STEERED));
    let question = format!("explain --from {CLIENT4}:4242 --to {to} --json");
    let mut text = String::new();
    // `lb explain` waits for seconds, an emulated verifier takes longer.
    poll("the packet is explained", || {
        text = output(&mut ask(lab, &question)?).unwrap_or_else(|error| error.to_string());
        Ok(!text.contains("cannot ask"))
    })?;
    let told: serde_json::Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(told["verdict"] == "steer" && told["leaves"]["interface"] == "down0", "{told}");
    Ok(())
}

fn traced(lab: &Lab) -> Result<()> {
    let log = lab.directory().join("trace.log");
    let mut trace = Process::start("lb trace", ask(lab, "trace --service raw --count 3")?, &log)?;
    poll("the trace has begun", || {
        trace.check()?;
        Ok(trace.output().contains("tracing"))
    })?;
    Talk::open(&lab.client, (VIP4, STEERED).into())?.echo()?;
    ensure!(trace.wait()?.success(), "{}", trace.output());
    let text = trace.output();
    let lines = text.lines().filter(|line| line.contains("raw") && line.contains("steer"));
    ensure!(lines.count() >= 3, "{text}");
    Ok(())
}
