//! The proxied half through the real daemon: XDP passes, `sk_lookup` hands over, real clients ask.

mod backends;
mod harm;
mod http;
mod tls;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        certificates::issue,
        client::{Answer, curl},
        servers,
    },
    lab::{
        process::{Process, output, poll},
        stage::{Stage, listed},
        topology::{DNS4, DNS6, Lab, VIP4, VIP6},
    },
};
use serde_json::Value;

const APP: &str = "app.example.test";
const WILD: &str = "*.wild.example.test";
const OTHER: &str = "other.example.test";

const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP4), IpAddr::V6(VIP6)];
const SECOND_VIPS: [IpAddr; 2] = [IpAddr::V4(DNS4), IpAddr::V6(DNS6)];

/// The file of certificates that clients trust.
const TRUSTED: &str = "trusted.pem";

/// One server's addresses in both families, as the items of a TOML list.
fn server(lab: &Lab, index: usize, port: u16) -> String {
    let addresses = lab.backends[index].addresses();
    listed(&addresses.map(|address| SocketAddr::new(address, port)))
}

/// Services by name on one pair of addresses, a backend each.
fn named_services(lab: &Lab) -> Result<String> {
    let mut toml = String::new();
    let mut trusted = String::new();
    for (index, (stem, name, port_80)) in [
        ("app", APP, r#"handlers = ["http"]"#),
        ("wild", WILD, r#"handlers = ["http"]"#),
        ("other", OTHER, r#"handlers = ["http"], force_https = true"#),
    ]
    .into_iter()
    .enumerate()
    {
        let certificate = issue(lab.directory(), stem, &[name])?;
        trusted.push_str(&fs::read_to_string(&certificate.cert)?);
        toml.push_str(&certificate.toml());
        toml.push_str(&format!(
            r#"[[services]]
name = "{stem}"
addresses = ["{VIP4}", "{VIP6}"]
hostnames = ["{name}"]
ports = [{{ port = 443, handlers = ["tls", "http"] }}, {{ port = 80, {port_80} }}]
load_balancer.servers = [{}]

"#,
            server(lab, index, servers::HTTP)
        ));
    }
    fs::write(lab.directory().join(TRUSTED), trusted)?;
    Ok(toml)
}

/// A service for every name on the second pair of addresses.
fn nameless_service(name: &str, ports: &str, servers: &str) -> String {
    format!(
        r#"[[services]]
name = "{name}"
addresses = ["{DNS4}", "{DNS6}"]
ports = [{ports}]
load_balancer.servers = [{servers}]

"#
    )
}

/// curl to `vip`, whatever name the URL has; it trusts the named services' certificates.
fn ask(stage: &Stage, vip: IpAddr, arguments: &[&str], url: &str) -> Result<Answer> {
    let host = SocketAddr::new(vip, 0).to_string();
    let to = format!("::{}:", host.strip_suffix(":0").context("a port")?);
    let trusted = stage.lab.directory().join(TRUSTED);
    let trusted = trusted.to_str().context("a path in UTF-8")?;
    let mut all = vec!["--connect-to", &to, "--cacert", trusted];
    all.extend(arguments);
    all.push(url);
    curl(&stage.lab.client, &all)
}

/// What the backend saw of a request.
fn seen(answer: &Answer) -> Result<Value> {
    serde_json::from_str(&answer.body).with_context(|| format!("the backend said {answer:?}"))
}

/// A server of one of tests/python's programs on the first backend, once it is ready.
fn python_server(lab: &Lab, program: &str, port: u16) -> Result<Process> {
    let backend = &lab.backends[0];
    let mut command = backend.netns.command(xtask::python::interpreter());
    command.arg(python_program(program)).arg(format!("{}:{port}", backend.v4));
    let mut server = Process::start(program, command, &lab.directory().join(program))?;
    poll("the server is ready", || {
        server.check()?;
        Ok(server.output().contains("ready"))
    })?;
    Ok(server)
}

fn python_program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

/// Runs one of tests/python's programs as a client; what it printed.
fn python_client(lab: &Lab, program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = lab.client.command(xtask::python::interpreter());
    output(command.arg(python_program(program)).args(arguments))
}
