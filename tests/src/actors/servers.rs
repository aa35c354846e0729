//! Real servers in the backends' namespaces: the program `echo`, one process each.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use crate::lab::{
    process::{Process, poll, program},
    topology::{Backend, Lab},
};

/// HTTP/1.1 and h2c: see `bin/echo/http.rs` for its paths.
pub const HTTP: u16 = 8080;
/// TCP: answers each line with its name and the line.
pub const TCP: u16 = 7000;
/// UDP: answers each datagram with its name and the datagram.
pub const UDP: u16 = 7001;

/// Starts all of a backend's servers and waits until they answer.
pub fn start(lab: &Lab, backend: &Backend) -> Result<Process> {
    start_at(lab, backend, &[])
}

/// The same where the backend has these addresses of clients' packets itself: datagrams to them are
/// answered as them.
pub fn start_at(lab: &Lab, backend: &Backend, addresses: &[IpAddr]) -> Result<Process> {
    let mut command = backend.netns.command(program("echo")?);
    command
        .args(["--name", &backend.name])
        .args(["--http", &HTTP.to_string(), "--tcp", &TCP.to_string()])
        .args(["--udp", &UDP.to_string()]);
    for address in addresses {
        command.args(["--udp-at", &address.to_string()]);
    }
    let log = lab.directory().join(format!("{}.log", backend.name));
    let mut process = Process::start(&backend.name, command, &log)?;
    poll(&format!("the servers of {} listen", backend.name), || {
        process.check()?;
        Ok(process.output().contains("ready"))
    })?;
    Ok(process)
}

/// Starts the servers of all backends, in their order.
pub fn start_all(lab: &Lab) -> Result<Vec<Process>> {
    lab.backends.iter().map(|backend| start(lab, backend)).collect()
}

/// `port` at every backend's IPv4 address, then at every IPv6 address.
#[must_use]
pub fn addresses(lab: &Lab, port: u16) -> Vec<SocketAddr> {
    (0..2)
        .flat_map(|family| lab.backends.iter().map(move |b| b.addresses()[family]))
        .map(|address| SocketAddr::new(address, port))
        .collect()
}
