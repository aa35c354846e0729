//! LOAD beside the sockets that there really are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};

use crate::{
    daemon::{process::Daemon, status::Status},
    lab::{
        process::{output, poll},
        topology::{INNER4, INNER6, Lab},
    },
};

/// Live connections by server.
type Live = BTreeMap<String, u64>;

/// Waits until LOAD and `ss` agree; where they do not in the end, in words. Only of services whose
/// connections to servers last as long as a client's.
pub(super) fn disagreements(lab: &Lab, daemon: &Daemon) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let agree = poll("LOAD is what ss shows", || {
        let (load, shown) = (by_load(&daemon.status()?), by_ss(lab)?);
        let all: BTreeSet<_> = load.keys().chain(shown.keys()).collect();
        let differs = all.into_iter().filter(|&it| load.get(it) != shown.get(it));
        let words = differs.map(|it| {
            let of = |live: &Live| live.get(it).copied().unwrap_or_default();
            format!("{it}: {} live, {} sockets", of(&load), of(&shown))
        });
        differences = words.collect();
        Ok(differences.is_empty())
    });
    Ok(agree.map_or(differences, |()| Vec::new()))
}

fn by_load(status: &Status) -> Live {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    let live = backends.map(|backend| (backend.address.clone(), backend.live));
    live.filter(|(_, live)| *live > 0).collect()
}

/// Established sockets of the servers whose peer is lb.
fn by_ss(lab: &Lab) -> Result<Live> {
    let mut live = Live::new();
    for backend in &lab.backends {
        let mut ss = backend.netns.command("ss");
        let text = output(ss.args(["-Htun", "state", "established"]))?;
        for line in text.lines() {
            // Protocol, two queues, our end, theirs.
            let mut words = line.split_whitespace().skip(3);
            let (local, peer) = words.next().zip(words.next()).context("a line of ss")?;
            let (local, peer) = (end(local)?, end(peer)?);
            if [IpAddr::from(INNER4), INNER6.into()].contains(&peer.ip()) {
                *live.entry(local.to_string()).or_default() += 1;
            }
        }
    }
    Ok(live)
}

/// As ss shows it: IPv4 at a socket for both families is mapped.
fn end(shown: &str) -> Result<SocketAddr> {
    let end: SocketAddr = shown.parse().with_context(|| format!("ss shows {shown}"))?;
    Ok(SocketAddr::new(end.ip().to_canonical(), end.port()))
}
