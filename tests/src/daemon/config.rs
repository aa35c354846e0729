//! Configuration for the daemon, piece by piece.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;

use crate::{
    actors::servers,
    lab::topology::{Lab, VIP4, VIP6},
};

/// A service on the lab's first pair of addresses whose `port` is steered to `servers`, as TOML.
/// Lines for its pool, such as `load_balancer.health_check = …`, may follow.
#[must_use]
pub fn steered(name: &str, protocol: &str, port: u16, servers: &[SocketAddr]) -> String {
    service(name, protocol, &format!("port = {port}"), servers)
}

/// The same with `port` as the inside of a `[[services.ports]]` table.
#[must_use]
pub fn service(name: &str, protocol: &str, port: &str, servers: &[SocketAddr]) -> String {
    format!(
        r#"
[[services]]
name = "{name}"
protocol = "{protocol}"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ {port} }}]
load_balancer.servers = [{}]
"#,
        listed(servers)
    )
}

/// Services `tcp` and `udp`, whose `port` is steered to what echoes on all backends.
#[must_use]
pub fn echoes(lab: &Lab, port: u16) -> String {
    steered("tcp", "tcp", port, &servers::addresses(lab, servers::TCP))
        + &steered("udp", "udp", port, &servers::addresses(lab, servers::UDP))
}

/// `addresses` as the items of a TOML list.
#[must_use]
pub fn listed(addresses: &[SocketAddr]) -> String {
    let items = addresses.iter().map(|address| format!("{{ address = \"{address}\" }}"));
    items.collect::<Vec<_>>().join(", ")
}

/// Writes a file of the lab's.
pub fn write(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.directory().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
