//! h2load: many requests over connections that stay.

use anyhow::{Context as _, Result, bail};

use super::{
    contender::Contender,
    extent::Extent,
    extent::OTHER_CORE,
    origin::{LARGE, SMALL},
    ports::{ANNOUNCED, HTTP, HTTPS, RELAY},
    turn::Work,
};
use crate::lab::{process::output, topology::Lab};

pub(super) struct LoadCase {
    pub name: &'static str,
    pub per: &'static str,
    scheme: &'static str,
    port: u16,
    path: &'static str,
    /// h2load's: connections, and requests at a time on each.
    arguments: &'static [&'static str],
}

pub(super) const CASES: [LoadCase; 7] = [
    LoadCase::new("h1", "request", HTTP, SMALL, &["--h1", "-c32"]),
    LoadCase::new("h1-tls", "request", HTTPS, SMALL, &["--h1", "-c32"]),
    LoadCase::new("h2-tls", "request", HTTPS, SMALL, &["-c16", "-m4"]),
    LoadCase::new("body-1m", "MiB", HTTP, LARGE, &["--h1", "-c8"]),
    LoadCase::new("body-1m-tls", "MiB", HTTPS, LARGE, &["--h1", "-c8"]),
    LoadCase::new("relay-tls", "MiB", RELAY, LARGE, &["--h1", "-c8"]),
    LoadCase::new("relay-v1", "MiB", ANNOUNCED, LARGE, &["--h1", "-c8"]),
];

impl LoadCase {
    const fn new(
        name: &'static str,
        per: &'static str,
        port: u16,
        path: &'static str,
        arguments: &'static [&'static str],
    ) -> Self {
        let scheme = if matches!(port, HTTP | ANNOUNCED) { "http" } else { "https" };
        Self { name, per, scheme, port, path, arguments }
    }

    /// A single failed request fails the bench.
    pub(super) fn run(&self, lab: &Lab, contender: &Contender, extent: Extent) -> Result<Work> {
        let url = format!("{}://{}{}", self.scheme, contender.at(self.port), self.path);
        let mut h2load = lab.lb.command("taskset");
        h2load.args(["--cpu-list", &OTHER_CORE.to_string(), "h2load", "-t1"]);
        h2load.args(["-D", &extent.seconds.to_string()]).args(self.arguments).arg(&url);
        let text = output(&mut h2load)?;
        let line = text.lines().find_map(|line| line.strip_prefix("requests: "));
        let line = line.with_context(|| format!("h2load printed {text}"))?;
        let count = |what: &str| -> Result<f64> {
            let found = line.split(", ").find_map(|part| part.strip_suffix(what));
            Ok(found.with_context(|| format!("h2load printed {line}"))?.trim().parse()?)
        };
        let done = count("succeeded")?;
        if done == 0.0 || count("failed")? + count("errored")? + count("timeout")? > 0.0 {
            bail!("requests to {url} failed: {line}");
        }
        Ok(Work { done, seconds: extent.seconds.into() })
    }
}
