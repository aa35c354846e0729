//! What clients can make the daemon hold, by the table in docs/http.md. The process is measured,
//! and what it took goes back.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    lab::{
        process::{Process, poll},
        stage::Stage,
        topology::{Lab, VIP4, VIP6},
    },
    measure::cpu,
};

use crate::{VIPS, python_program, python_server, server};

const PORT: u16 = 9000;
/// What the allocator keeps of what goes back, in MiB.
const KEPT: f64 = 32.0;

/// What is held for each connection at most, in MiB, and how many there are.
const TABLE: [(&str, usize, f64); 17] = [
    ("fields", 10, 10.0),
    ("too-many-fields", 10, 4.0),
    ("cookies", 10, 8.0),
    ("large-values", 10, 10.0),
    ("uploads", 8, 16.0),
    ("tiny-uploads", 8, 16.0),
    ("trailers", 8, 20.0),
    ("downloads", 2, 48.0),
    ("http1-upload", 10, 2.0),
    ("http1-download", 10, 1.0),
    ("http1-interim", 10, 1.0),
    ("http1-pipelined", 10, 1.0),
    ("proxy-header", 300, 0.1),
    ("hello", 300, 0.2),
    ("names", 1000, 0.02),
    ("tickets", 1000, 0.02),
    ("queue", 200, 0.4),
];

fn web(lab: &Lab) -> Result<String> {
    let servers = server(lab, 0, PORT);
    let server = servers.split(',').next().context("an address")?.trim();
    Ok(format!(
        r#"[proxy]
drain_timeout = "1s"
proxy_proto_from = ["::/0"]

[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [
  {{ port = 80, handlers = ["http"] }},
  {{ port = 443, handlers = ["tls", "http"], tls_options = {{ default_self_signed = true }} }},
]
load_balancer.servers = [{server}]

[[services]]
name = "queue"
addresses = ["{VIP4}"]
ports = [{{ port = 81, handlers = ["http"] }}]
concurrency = {{ type = "requests", soft_limit = 1, hard_limit = 1 }}
queue = {{ length = 1000, timeout = "1m" }}
load_balancer.servers = [{server}]
"#
    ))
}

/// In MiB.
fn memory(stage: &Stage) -> Result<f64> {
    Ok(cpu::resident(&[stage.daemon.id()])? / 1024.0)
}

#[test]
fn what_clients_make_us_hold_is_bounded_and_goes_back() -> Result<()> {
    let stage = Stage::up_with("workers = 1", web)?;
    let _server = python_server(&stage.lab, "stubborn.py", PORT)?;
    for (name, count, most) in TABLE {
        let vip = VIPS[usize::from(name == "proxy-header")].to_string();
        let before = memory(&stage)?;
        let mut command = stage.lab.client.command(xtask::python::interpreter());
        command.arg(python_program("hoarder.py")).args([name, &vip, &count.to_string()]);
        let mut client = Process::start(name, command, &stage.lab.directory().join(name))?;
        let mut peak = before;
        let mut rounds = 0;
        while rounds < 20 {
            client.check()?;
            rounds += usize::from(client.output().contains("sent"));
            peak = peak.max(memory(&stage)?);
            thread::sleep(Duration::from_millis(100));
        }
        let each = (peak - before) / count as f64;
        eprintln!("{name}: {each:.2} MiB for each of {count} connections");
        ensure!(each <= most, "{name}: {each} MiB for each connection");
        drop(client);
        poll("memory goes back", || Ok(memory(&stage)? <= before + KEPT))
            .with_context(|| name.to_owned())?;
    }
    stage.stop()
}
