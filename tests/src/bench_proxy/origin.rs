//! Whom all proxies fetch from: nginx with 24 bytes and with 1 MiB.

use std::{fs, net::SocketAddr};

use anyhow::Result;

use super::listening::when_listening;
use crate::lab::{process::Process, topology::Lab};

pub(super) const HTTP: u16 = 8080;
pub(super) const TUNNEL: u16 = 8081;
/// The same as `HTTP` behind a header of the PROXY protocol.
pub(super) const ANNOUNCED: u16 = 8082;
pub(super) const SMALL: &str = "/small";
pub(super) const LARGE: &str = "/large";
/// Of `LARGE`.
const MIB: usize = 1 << 20;

/// An address of the origin's.
pub(super) fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub(super) fn start(lab: &Lab) -> Result<Process> {
    let directory = lab.directory().join("origin");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("large"), vec![b'x'; MIB])?;
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration(&directory.display().to_string()))?;
    let mut command = lab.lb.command("nginx");
    command.arg("-c").arg(&file).arg("-e").arg("stderr");
    let origin = Process::start("origin", command, &directory.join("log"))?;
    when_listening(lab, origin, at(HTTP))
}

fn configuration(directory: &str) -> String {
    let body = "x".repeat(24);
    format!(
        "daemon off; user root; worker_processes 1; pid {directory}/pid;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n\
         access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
         keepalive_timeout 600s;\n\
         server {{\n\
         listen {}; listen {} proxy_protocol;\n\
         location {SMALL} {{ return 200 \"{body}\"; }}\n\
         location {LARGE} {{ root {directory}; }}\n\
         }} }}\n",
        at(HTTP),
        at(ANNOUNCED)
    )
}
