//! iperf3 through XDP, beside the same path routed by the kernel.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Report, Rounds, say};
use crate::{
    daemon::Daemon,
    interrupt::Interrupt,
    process::{Process, output, poll},
    topology::{Lab, VIP4, VIP6},
};

const PORT: u16 = 5201;

pub fn measure(
    ours: &Lab,
    theirs: &Lab,
    rounds: Rounds,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<()> {
    theirs.route_by_kernel()?;
    let _servers = [server(ours)?, server(theirs)?];
    let daemon = Daemon::start(ours, &service(ours))?;
    let backend = &theirs.backends[0];
    for (name, vip, routed) in [
        ("steered TCP, IPv4", IpAddr::from(VIP4), IpAddr::from(backend.v4)),
        ("steered TCP, IPv6", VIP6.into(), backend.v6.into()),
    ] {
        say(name);
        let (mut steered, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..rounds.rounds {
            interrupt.check()?;
            steered.push(gigabits(ours, vip, rounds.seconds)?);
            plain.push(gigabits(theirs, routed, rounds.seconds)?);
        }
        report.add(name, "Gbit/s", "the kernel routing, no XDP", steered, plain);
    }
    daemon.stop()
}

/// iperf3 opens a connection for control and one for data: one backend has both.
fn service(lab: &Lab) -> String {
    let backend = &lab.backends[0];
    format!(
        r#"[[services]]
name = "iperf"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {PORT} }}]
load_balancer.servers = [{{ address = "{}:{PORT}" }}, {{ address = "[{}]:{PORT}" }}]
"#,
        backend.v4, backend.v6
    )
}

fn server(lab: &Lab) -> Result<Process> {
    let backend = &lab.backends[0];
    let mut command = backend.netns.command("iperf3");
    command.args(["--server", "--forceflush", "--port", &PORT.to_string()]);
    let log = lab.directory().join("iperf3.log");
    let mut process = Process::start("iperf3", command, &log)?;
    poll("iperf3 listens", || {
        process.check()?;
        Ok(process.output().contains("listening"))
    })?;
    Ok(process)
}

fn gigabits(lab: &Lab, to: IpAddr, seconds: u32) -> Result<f64> {
    let mut client = lab.client.command("iperf3");
    client.args(["--json", "--port", &PORT.to_string()]);
    client.args(["--time", &seconds.to_string(), "--client", &to.to_string()]);
    let text = output(&mut client).with_context(|| format!("iperf3 to {to}"))?;
    let result: Value = serde_json::from_str(&text)?;
    let bits = result.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    Ok(bits.with_context(|| format!("iperf3 printed {text}"))? / 1e9)
}
