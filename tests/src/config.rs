//! Configuration for the daemon, piece by piece.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;

use crate::topology::{Lab, VIP4, VIP6};

/// A service on the lab's first pair of addresses whose `port` is steered to `servers`, as TOML.
/// Lines for its pool, such as `load_balancer.health_check = …`, may follow.
#[must_use]
pub fn steered(name: &str, protocol: &str, port: u16, servers: &[SocketAddr]) -> String {
    service(name, protocol, &format!("port = {port}"), servers)
}

/// The same with `port` as the inside of a `[[services.ports]]` table.
#[must_use]
pub fn service(name: &str, protocol: &str, port: &str, servers: &[SocketAddr]) -> String {
    let servers: Vec<_> =
        servers.iter().map(|server| format!("{{ address = \"{server}\" }}")).collect();
    format!(
        r#"
[[services]]
name = "{name}"
protocol = "{protocol}"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ {port} }}]
load_balancer.servers = [{}]
"#,
        servers.join(", ")
    )
}

/// Writes a file of the lab's.
pub fn write(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.directory().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
