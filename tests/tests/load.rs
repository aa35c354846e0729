//! One truth about load: what XDP and the proxy count into the shared array is what is open.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        certificates::issue,
        client::curl,
        held::{Held, hold},
        servers,
    },
    lab::{
        process::{Process, output, poll},
        stage::{Stage, backend, listed, service},
        topology::{Lab, VIP4, VIP6},
    },
};

const NAME: &str = "app.example.test";
const STEERED: u16 = 9000;
const RELAYED: u16 = 8443;

/// One service whose ports go all ways, to one set of servers.
fn all_ways(lab: &Lab) -> Result<String> {
    let certificate = issue(lab.directory(), "app", &[NAME])?.toml();
    let servers = listed(&servers::addresses(lab, servers::HTTP));
    Ok(format!(
        r#"{certificate}
[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
ports = [
  {{ port = 80, handlers = ["http"] }},
  {{ port = 443, handlers = ["tls", "http"] }},
  {{ port = {RELAYED}, handlers = ["tls"] }},
  {{ port = {STEERED} }},
]
load_balancer.servers = [{servers}]
"#
    ))
}

/// `count` requests on every way and in both families.
fn hold_all_ways(stage: &Stage, count: usize) -> Result<Vec<Held>> {
    let resolve = ["443", "8443"].map(|port| format!("{NAME}:{port}:{VIP4},[{VIP6}]"));
    let mut asks = Vec::new();
    for family in ["--ipv4", "--ipv6"] {
        let named = [family, "--resolve", &resolve[0], "--resolve", &resolve[1]];
        let with = |more: &'static str| [&named[..], &[more]].concat();
        let address = if family == "--ipv4" { VIP4.to_string() } else { format!("[{VIP6}]") };
        asks.extend([
            (vec![family], format!("http://{address}:{STEERED}/hold")),
            (vec![family], format!("http://{address}/hold")),
            (with("--http1.1"), format!("https://{NAME}/hold")),
            (with("--http2"), format!("https://{NAME}/hold")),
            (with("--http1.1"), format!("https://{NAME}:{RELAYED}/hold")),
            (with("--http2"), format!("https://{NAME}:{RELAYED}/hold")),
        ]);
    }
    hold(&stage.lab, count, &asks)
}

/// Established connections at each server's own socket, as its kernel sees them.
fn connections(stage: &Stage) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for address in servers::addresses(&stage.lab, servers::HTTP) {
        let backends = &mut stage.lab.backends.iter();
        let at = backends.find(|backend| backend.addresses().contains(&address.ip()));
        let mut ss = at.context("a backend")?.netns.command("ss");
        let address = address.to_string();
        ss.args(["-Htn", "state", "established", "src", &address]);
        counts.insert(address, output(&mut ss)?.lines().count() as u64);
    }
    Ok(counts)
}

fn live(stage: &Stage) -> Result<BTreeMap<String, u64>> {
    let status = stage.daemon.status()?;
    let backends = service(&status, "web")?.backends.iter();
    Ok(backends.map(|backend| (backend.address.clone(), backend.live)).collect())
}

/// Asserts that the counts are what the servers' kernels and the servers see, and `total` in all.
fn assert_true(stage: &Stage, held: &[Held]) -> Result<()> {
    let counts = live(stage)?;
    assert_eq!(counts.values().sum::<u64>(), held.len() as u64, "{counts:?}");
    assert_eq!(counts, connections(stage)?);
    for (index, backend) in stage.lab.backends.iter().enumerate() {
        let here = held.iter().filter(|held| held.server == backend.name).count() as u64;
        let at = backend.addresses().map(|address| SocketAddr::new(address, servers::HTTP));
        let counted: u64 = at.iter().map(|address| counts[&address.to_string()]).sum();
        assert_eq!(counted, here, "{}", backend.name);
        assert_eq!(stage.ask_backend(index, "/held")?, here.to_string());
    }
    Ok(())
}

fn wait_for_zero(stage: &Stage) -> Result<()> {
    let mut counts = BTreeMap::new();
    poll("every live count is back at exactly 0", || {
        counts = live(stage)?;
        Ok(counts.values().all(|&count| count == 0))
    })
    .with_context(|| format!("{counts:?}\n{}", stage.daemon.log()))
}

#[test]
fn counts_are_what_is_open_on_both_paths() -> Result<()> {
    let stage = Stage::up(all_ways)?;
    wait_for_zero(&stage)?;
    let held = hold_all_ways(&stage, 3)?;
    assert_true(&stage, &held)?;
    stage.release()?;
    held.into_iter().try_for_each(Held::finish)?;
    wait_for_zero(&stage)?;
    stage.stop()
}

#[test]
fn counts_are_0_after_clients_are_killed() -> Result<()> {
    let stage = Stage::up(all_ways)?;
    let mut held = hold_all_ways(&stage, 2)?;
    let rest = held.split_off(9);
    held.into_iter().try_for_each(Held::kill)?;
    poll("the killed ones are counted out", || {
        Ok(live(&stage)?.values().sum::<u64>() == rest.len() as u64)
    })?;
    assert_true(&stage, &rest)?;
    rest.into_iter().try_for_each(Held::kill)?;
    wait_for_zero(&stage)?;
    stage.stop()
}

#[test]
fn counts_are_0_after_the_client_s_link_is_cut() -> Result<()> {
    let stage = Stage::up(|lab| {
        let quick = "[node.flow_timeouts]\nestablished = \"8s\"\n\n[proxy]\nkeepalive_time = \"4s\"\n\
             keepalive_interval = \"2s\"\nkeepalive_probes = 2\n";
        Ok(format!("{quick}\n{}", all_ways(lab)?))
    })?;
    let held = hold_all_ways(&stage, 1)?;
    // One that is under way: what was sent will never be acknowledged.
    let mut download = stage.lab.client.command("curl");
    download.args(["--silent", "--limit-rate", "1000", "--output", "/dev/null"]);
    download.arg(format!("http://{VIP4}/content/67108864"));
    let download = Process::start("curl", download, &stage.lab.directory().join("download.log"))?;
    // Steered flows may be gone already, by the same clock as without the cut.
    poll("the requests are under way", || Ok(live(&stage)?.values().sum::<u64>() >= 7))?;
    stage.lab.client.ip("link set eth0 down")?;
    wait_for_zero(&stage)?;
    drop((held, download));
    stage.lab.client.ip("link set eth0 up")?;
    stage.lab.client.ip("route replace default via 10.101.0.1")?;
    for port in [80, STEERED] {
        assert_eq!(curl(&stage.lab.client, &[&format!("http://{VIP4}:{port}/")])?.status, 200);
    }
    wait_for_zero(&stage)?;
    stage.stop()
}

/// How many of `count` requests each backend got, one after the other.
fn spread(stage: &Stage, count: u32) -> Result<BTreeMap<String, u32>> {
    let mut spread = BTreeMap::new();
    let url = format!("http://{VIP4}/wh[1-{count}]");
    let mut curl = stage.lab.client.command("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--output", "/dev/null"]);
    curl.args(["--write-out", "%header{x-backend}\n", &url]);
    for name in output(&mut curl)?.lines() {
        *spread.entry(name.to_owned()).or_default() += 1;
    }
    Ok(spread)
}

#[test]
fn the_proxy_avoids_who_carries_steered_connections() -> Result<()> {
    const HELD: usize = 10;
    let stage = Stage::up(|lab| {
        let all = servers::addresses(lab, servers::HTTP);
        let one = all[0];
        let v4: Vec<_> = all.into_iter().filter(SocketAddr::is_ipv4).collect();
        Ok(format!(
            "[[services]]\nname = \"web\"\naddresses = [\"{VIP4}\"]\n\
             ports = [{{ port = 80, handlers = [\"http\"] }}]\n\
             load_balancer.servers = [{}]\n\n\
             [[services]]\nname = \"raw\"\naddresses = [\"{VIP4}\"]\n\
             ports = [{{ port = {STEERED} }}]\nload_balancer.servers = [{}]\n",
            listed(&v4),
            listed(&[one])
        ))
    })?;
    let url = format!("http://{VIP4}:{STEERED}/hold");
    let held = hold(&stage.lab, HELD, &[(vec![], url)])?;
    let busy = SocketAddr::new(IpAddr::from(stage.lab.backends[0].v4), servers::HTTP);
    let status = stage.daemon.status()?;
    for name in ["web", "raw"] {
        assert_eq!(backend(service(&status, name)?, busy)?.live, HELD as u64);
    }
    let spread_around = spread(&stage, 60)?;
    assert_eq!(spread_around.keys().collect::<Vec<_>>(), ["b2", "b3"], "{spread_around:?}");
    stage.release()?;
    held.into_iter().try_for_each(Held::finish)?;
    wait_for_zero(&stage)?;
    let spread_evenly = spread(&stage, 60)?;
    assert_eq!(spread_evenly.len(), 3, "{spread_evenly:?}");
    stage.stop()
}
