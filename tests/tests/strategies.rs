//! Which backend gets a new flow: the loaded program with the rings that the daemon makes, and real
//! connections.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::{config, process::Daemon},
    kernel::steered::{Network, Steered},
    lab::{
        process::poll,
        topology::{Lab, VIP4},
    },
};

const FLOWS: u32 = 100_000;
const PORT: u16 = 80;

/// A service over servers with these weights, the first at 10.2.0.11.
fn service(strategy: &str, weights: &[u16], more: &str) -> String {
    let servers = (11..).zip(weights).filter(|(_, weight)| **weight > 0);
    let servers = servers
        .map(|(host, weight)| format!("{{ address = \"10.2.0.{host}:8080\", weight = {weight} }}"));
    format!(
        "[[services]]\nname = \"s\"\naddresses = [\"{VIP4}\"]\nports = [{{ port = {PORT} }}]\n{more}\n\
         [services.load_balancer]\nstrategy = \"{strategy}\"\nservers = [{}]\n",
        servers.collect::<Vec<_>>().join(", ")
    )
}

/// Clients that differ in address and port.
fn client(number: u32) -> SocketAddr {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number / 4);
    SocketAddr::new(address.into(), 40_000 + (number % 4) as u16)
}

fn vip() -> SocketAddr {
    (VIP4, PORT).into()
}

fn network(name: &str, servers: usize) -> Network {
    Network::create(name, servers)
}

/// Which server each of so many flows goes to.
fn choices(steered: &mut Steered<'_>, flows: u32) -> Result<Vec<IpAddr>> {
    (0..flows).map(|number| steered.open(client(number), vip())).collect()
}

/// Each share is within 2 % of what the weight says. Where shares are drawn at random there are so
/// few servers, and so many flows, that this is five times the standard deviation.
#[test]
fn shares_are_those_of_the_weights() -> Result<()> {
    let network = network("shares", 4);
    network.netns.within(|| {
        let mut steered = Steered::load(&network)?;
        let cases: [(&str, &[u16]); 4] = [
            ("maglev", &[1, 1, 1, 1]),
            ("maglev", &[2, 3]),
            ("wrr", &[1, 2, 3, 4]),
            ("random", &[2, 3]),
        ];
        for (strategy, weights) in cases {
            steered.configure(&service(strategy, weights, ""))?;
            let mut counts = BTreeMap::<IpAddr, u32>::new();
            for server in choices(&mut steered, FLOWS)? {
                *counts.entry(server).or_default() += 1;
            }
            let sum: u16 = weights.iter().sum();
            for (host, &weight) in (11..).zip(weights) {
                let count = counts.remove(&Ipv4Addr::new(10, 2, 0, host).into()).unwrap_or(0);
                let fair = f64::from(FLOWS) * f64::from(weight) / f64::from(sum);
                let error = (f64::from(count) - fair).abs();
                ensure!(error <= 0.02 * fair, "{strategy} {weights:?}: {count}, not {fair}");
            }
            ensure!(counts.is_empty(), "{strategy}: others got flows: {counts:?}");
        }
        Ok(())
    })?
}

#[test]
fn a_server_that_leaves_takes_few_flows_along() -> Result<()> {
    const SERVERS: usize = 10;
    const FLOWS: u32 = 30_000;
    let network = network("leaves", SERVERS);
    network.netns.within(|| {
        let mut steered = Steered::load(&network)?;
        let mut weights = [1; SERVERS];
        steered.configure(&service("maglev", &weights, ""))?;
        let before = choices(&mut steered, FLOWS)?;
        weights[4] = 0;
        steered.configure(&service("maglev", &weights, ""))?;
        let after = choices(&mut steered, FLOWS)?;
        let gone = IpAddr::from([10, 2, 0, 15]);
        ensure!(before.contains(&gone) && !after.contains(&gone));
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        let most = 1.2 * f64::from(FLOWS) / SERVERS as f64;
        ensure!(moved as f64 <= most, "{moved} flows moved, more than {most}");
        Ok(())
    })?
}

/// The strategy would change at every flow.
#[test]
fn sources_keep_their_servers_for_a_time() -> Result<()> {
    let network = network("keeps", 3);
    network.netns.within(|| {
        let mut steered = Steered::load(&network)?;
        let from = |source: u8, port| SocketAddr::new([198, 51, 100, source].into(), port);
        steered.configure(&service(
            "wrr",
            &[1, 1, 1],
            "affinity = { timeout = \"1h\", prefix_v4 = 31 }",
        ))?;
        let first = steered.open(from(8, 1000), vip())?;
        let other = steered.open(from(10, 1000), vip())?;
        ensure!(first != other, "another source has its turn");
        for port in 1001..1100 {
            ensure!(steered.open(from(8 + (port % 2) as u8, port), vip())? == first, "{port}");
            ensure!(steered.open(from(10, port), vip())? == other, "{port}");
        }
        let timeout = Duration::from_millis(50);
        steered.configure(&service("wrr", &[1, 1, 1], "affinity = { timeout = \"50ms\" }"))?;
        let (first, mut port) = (steered.open(from(12, 1000), vip())?, 1000);
        poll("the source is forgotten", || {
            thread::sleep(timeout + timeout);
            port += 1;
            Ok(steered.open(from(12, port), vip())? != first)
        })
    })?
}

/// Connections of a service that only the first server has, then of one that all have.
fn evens_out(strategy: &str) -> Result<()> {
    const BURDEN: usize = 64;
    const NEW: usize = 120;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let all = config::steered("all", "tcp", 9001, &addresses);
    let all = format!("{all}load_balancer.strategy = \"{strategy}\"\n");
    let first = lab.backends[0].addresses().map(|it| SocketAddr::new(it, servers::TCP));
    let daemon = Daemon::start(&lab, &(config::steered("one", "tcp", 9000, &first) + &all))?;
    let open = |port: u16, count: usize| -> Result<Vec<Talk>> {
        (0..count).map(|_| Talk::open(&lab.client, (VIP4, port).into())).collect()
    };
    let burden = open(9000, BURDEN)?;
    ensure!(burden.iter().all(|talk| talk.server == "b1"));
    let mut new = open(9001, NEW)?;
    let to_first = new.iter().filter(|talk| talk.server == "b1").count();
    // A server is asked for by chance alone in a third of the cases, which would be forty; in a
    // ninth both of two are the burdened one.
    let most = if strategy == "p2c" { NEW / 4 } else { 0 };
    ensure!(to_first <= most, "{to_first} went to the burdened server");
    let status = daemon.status()?;
    let backends = &status.service("all").context("a service")?.backends;
    let used = backends.iter().filter(|backend| backend.live > 0);
    let live: Vec<u64> = used.map(|backend| backend.live).collect();
    ensure!(live.iter().sum::<u64>() == (BURDEN + NEW) as u64, "{live:?}");
    if strategy == "least_conn" {
        ensure!(live == [64, 60, 60], "{live:?}");
    }
    new.iter_mut().try_for_each(Talk::echo)?;
    drop((burden, new));
    daemon.when_quiet()?;
    daemon.stop()
}

#[test]
fn two_choices_spare_the_burdened_server() -> Result<()> {
    evens_out("p2c")
}

#[test]
fn the_server_with_the_fewest_connections_gets_the_next() -> Result<()> {
    evens_out("least_conn")
}
