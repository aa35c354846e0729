//! Every counter of `lb status --json` grows or stays.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What was seen last, and what fell.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: BTreeMap<String, u64>,
    pub backwards: Vec<String>,
}

impl Ledger {
    /// Compares a status with the one before. What it does not show any more (a service, a server)
    /// may begin anew when it comes back.
    pub(super) fn take(&mut self, printed: &str) -> Result<()> {
        let status: Value = serde_json::from_str(printed)?;
        let now = counters(&status).context("a status without a part that it always has")?;
        for (name, &value) in &now {
            if let Some(&before) = self.seen.get(name).filter(|&&before| before > value) {
                self.backwards.push(format!("{name}: {value} after {before}"));
            }
        }
        self.seen = now;
        Ok(())
    }
}

fn counters(status: &Value) -> Option<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for service in status["services"].as_array()? {
        let name = service["name"].as_str()?;
        for key in ["requests", "failed", "no_source_port"] {
            all.insert(format!("{name} {key}"), service[key].as_u64()?);
        }
        for backend in service["backends"].as_array()? {
            let address = backend["address"].as_str()?;
            all.insert(format!("{name} {address} taken"), backend["taken"].as_u64()?);
        }
    }
    for (list, name, value) in [
        (&status["drops"], "reason", "packets"),
        (&status["handshakes"]["failed"], "kind", "count"),
        (&status["lacks"], "undone", "count"),
        (&status["repaired"], "what", "count"),
    ] {
        for entry in list.as_array()? {
            all.insert(format!("{name} {}", entry[name].as_str()?), entry[value].as_u64()?);
        }
    }
    for (group, keys) in [
        ("verdicts", &["pass", "proxy", "steer", "reply"][..]),
        ("handshakes", &["completed"]),
        ("flows", &["evicted", "evicted_half_open", "crowded", "revived", "rerouted"]),
    ] {
        for key in keys {
            all.insert(format!("{group} {key}"), status[group][key].as_u64()?);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(requests: u64, taken: Option<u64>) -> String {
        let backends = taken.map(|taken| json!({ "address": "10.0.0.1:80", "taken": taken }));
        json!({
            "services": [{
                "name": "web", "requests": requests, "failed": 0, "no_source_port": 0,
                "backends": backends.into_iter().collect::<Vec<_>>(),
            }],
            "drops": [{ "reason": "malformed", "packets": 2 }],
            "handshakes": { "completed": 1, "failed": [] }, "lacks": [], "repaired": [],
            "verdicts": { "pass": 1, "proxy": 1, "steer": 1, "reply": 1 },
            "flows": {
                "evicted": 0, "evicted_half_open": 0, "crowded": 0, "revived": 0, "rerouted": 0,
            },
        })
        .to_string()
    }

    #[test]
    fn what_falls_is_named_and_what_was_away_begins_anew() {
        let mut ledger = Ledger::default();
        for (requests, taken) in [(1, Some(5)), (3, Some(7)), (3, None), (3, Some(0))] {
            ledger.take(&status(requests, taken)).unwrap();
        }
        assert_eq!(ledger.backwards, [""; 0]);
        ledger.take(&status(2, Some(0))).unwrap();
        assert_eq!(ledger.backwards, ["web requests: 2 after 3"]);
        assert!(ledger.take("{}").is_err());
    }
}
