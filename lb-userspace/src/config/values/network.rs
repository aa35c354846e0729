//! Networks in prefix notation.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::text::reader::Value;

/// Reads a list of networks, none twice.
pub(crate) fn networks(value: Value<'_>) -> Option<Vec<IpNet>> {
    let networks = value.list(network)?;
    value.report().refuse_repeats("network", &networks.items);
    Some(networks.into_values())
}

/// Reads `10.0.0.0/8`, or a single address.
pub(crate) fn network(value: Value<'_>) -> Option<IpNet> {
    const HELP: &str = "write a network such as \"10.0.0.0/8\" or \"fd00::/8\", or an address";
    let text = value.text()?;
    let parsed = text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    let Some(network) = parsed else {
        return value.refuse(format!("`{text}` is not a network"), HELP);
    };
    if network.trunc() != network {
        let message = format!("`{text}` has bits set beyond its prefix");
        return value.refuse(message, format!("write \"{}\"", network.trunc()));
    }
    Some(network)
}
