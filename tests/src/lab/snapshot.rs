//! What a daemon may change about its host, to be compared before and after.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{netns::Netns, process::output, topology::INTERFACES};

/// Listings by `ip`. Neighbours that the kernel learns and forgets by itself are left out.
const LISTINGS: [&str; 9] = [
    "-4 route show table all",
    "-6 route show table all",
    "-4 rule show",
    "-6 rule show",
    "addr show",
    "-4 neigh show nud permanent",
    "-6 neigh show nud permanent",
    "-4 neigh show proto 76",
    "-6 neigh show proto 76",
];

/// Facts by name: routes, rules, links with their XDP programs, addresses, fixed neighbours,
/// offloads, and every per-interface sysctl.
pub type Snapshot = BTreeMap<String, String>;

pub fn take(netns: &Netns) -> Result<Snapshot> {
    let mut facts = Snapshot::new();
    for listing in LISTINGS {
        for fact in list(netns, listing)? {
            facts.insert(format!("ip {listing}: {fact}"), String::new());
        }
    }
    for interface in INTERFACES {
        let features = output(netns.command("ethtool").args(["-k", interface]))?;
        facts.insert(format!("ethtool -k {interface}"), features);
    }
    netns.within(|| {
        read_below(Path::new("/proc/sys/net/ipv4/conf"), &mut facts)?;
        read_below(Path::new("/proc/sys/net/ipv6/conf"), &mut facts)
    })??;
    Ok(facts)
}

/// The entries of a listing, whatever their order.
fn list(netns: &Netns, listing: &str) -> Result<Vec<String>> {
    let text = netns.ip(&format!("-json -details {listing}"))?;
    let entries: Value = serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text })?;
    let entries = entries.as_array().with_context(|| format!("ip {listing}: {text}"))?;
    Ok(entries.iter().map(Value::to_string).collect())
}

fn read_below(directory: &Path, facts: &mut Snapshot) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read_below(&path, facts)?;
        } else if let Ok(value) = fs::read_to_string(&path) {
            facts.insert(path.display().to_string(), value);
        }
    }
    Ok(())
}

/// What is in one of them only, or with another value.
#[must_use]
pub fn differences(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let lost = before.iter().filter(|(name, value)| after.get(*name) != Some(value));
    let new = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    lost.map(|(name, value)| format!("- {name} {value}"))
        .chain(new.map(|(name, value)| format!("+ {name} {value}")))
        .collect()
}
