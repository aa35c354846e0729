//! One service, as it changes.

use std::{collections::BTreeMap, fmt::Write as _};

use super::pool::Pool;
use crate::lab::topology::{VIP4, VIP6};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::torture) struct Service {
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The insides of tables of ports.
    pub ports: Vec<String>,
    /// None: every name.
    pub hostnames: Vec<String>,
    pub pool: Pool,
    /// Keys of the service and values in TOML.
    pub keys: BTreeMap<&'static str, String>,
}

impl Service {
    pub(super) fn is_steered(&self) -> bool {
        !self.ports.iter().any(|port| port.contains("handlers"))
    }

    pub(super) fn speaks_http(&self) -> bool {
        self.ports.iter().any(|port| port.contains("\"http\""))
    }

    /// Sets a key, or takes it away where there is no value.
    pub(super) fn set(&mut self, key: &'static str, value: Option<&str>) {
        match value {
            Some(value) => self.keys.insert(key, value.to_owned()),
            None => self.keys.remove(key),
        };
    }

    pub(super) fn toml(&self) -> String {
        let Self { name, protocol, ports, hostnames, pool, keys } = self;
        let tables: Vec<_> = ports.iter().map(|port| format!("{{ {port} }}")).collect();
        let mut text = format!(
            "\n[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\n\
             addresses = [\"{VIP4}\", \"{VIP6}\"]\nports = [{}]\n\
             load_balancer.servers = [{}]\n",
            tables.join(", "),
            pool.toml()
        );
        if !hostnames.is_empty() {
            let _ = writeln!(text, "hostnames = {hostnames:?}");
        }
        for (key, value) in keys {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }
}
