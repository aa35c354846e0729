//! h2load: HTTP/2 over TLS, several requests at a time, one run after the other.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};

use super::count::{Count, joined};
use crate::{
    lab::{netns::Netns, topology::Lab},
    torture::names::HOST,
};

/// A number instead of a time: what is under way at the end of a time would count as failed.
const REQUESTS: u64 = 2000;

pub(super) struct H2load(JoinHandle<Count>);

impl H2load {
    pub(super) fn start(lab: &Lab, to: SocketAddr, stop: Arc<AtomicBool>) -> Result<Self> {
        let client = Netns::existing(lab.client.name()).context("no client")?;
        Ok(Self(std::thread::spawn(move || {
            let mut count = Count::of("h2load");
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = run(&client, to, &mut count) {
                    count.fail(&error);
                }
            }
            count
        })))
    }

    pub(super) fn stop(self) -> Result<Count> {
        joined(self.0)
    }
}

fn run(client: &Netns, to: SocketAddr, count: &mut Count) -> Result<()> {
    let mut h2load = client.command("h2load");
    h2load.args(["-t1", "-c4", "-m4", &format!("-n{REQUESTS}")]);
    h2load.arg(format!("--connect-to={to}")).arg(format!("https://{HOST}:{}/delay/8", to.port()));
    let output = h2load.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("status codes: "));
    let line = line.with_context(|| format!("h2load printed {text}"))?;
    let good = line.split(", ").find_map(|part| part.strip_suffix(" 2xx"));
    let good: u64 = good.context("no count of 2xx")?.trim().parse()?;
    count.requests += REQUESTS;
    if good < REQUESTS {
        count.failed += REQUESTS - good;
        let requests = text.lines().find(|line| line.starts_with("requests: "));
        count.note(format!("{}; {line}", requests.unwrap_or_default()));
    }
    Ok(())
}
