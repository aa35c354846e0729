//! Next hops towards backends, and their entries in the kernel's neighbour tables.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use lb::host::{Host, Unreachable};
use lb_tests::lab::process::PATIENCE;

use super::{Bench, addresses, ip, open};

#[test]
fn next_hops_are_kept_resolved_and_forgotten_in_the_end() {
    let bench = Bench::new();
    ip(&bench.here, "route add 10.20.0.0/16 via 10.9.0.2");
    ip(&bench.here, "neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev e0 nud permanent");
    let kept = || ip(&bench.here, "neigh show proto 76");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let backends = addresses(["10.20.0.1", "10.20.0.2", "10.9.0.77", "fd09::2"]);
        host.keep_neighbours(backends).await.expect("keep");
        eventually(&mut host, |host_sees| host_sees.is_empty() && resolved(&kept()) == 2).await;
        assert!(kept().contains("managed"), "{}", kept());

        host.keep_neighbours(addresses(["fd09::2"])).await.expect("keep");
        assert!(!kept().contains("10.9.0.2 "), "{}", kept());
        ip(&bench.there, "link set e1 down");
        ip(&bench.there, "link set e1 up");
        host.close().await.expect("close");
    });
    assert_eq!(kept(), "");
    let fixed = ip(&bench.here, "neigh show 10.9.0.77");
    assert!(fixed.contains("PERMANENT"), "{fixed}");
}

/// More of them than the kernel has room for among entries that are not somebody's on purpose.
#[test]
fn there_is_room_for_any_number_of_next_hops() {
    let room = std::fs::read_to_string("/proc/sys/net/ipv4/neigh/default/gc_thresh3");
    let room: u32 = room.expect("the sysctl").trim().parse().expect("a number");
    let count = room.min(20_000) + 100;
    let first = 0x0a0a_0002;
    let servers = (first..first + count).map(|n| IpAddr::from(n.to_be_bytes())).collect();
    let bench = Bench::new();
    ip(&bench.here, "addr add 10.10.0.1/16 dev e0");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.keep_neighbours(servers).await.expect("keep");
        let kept = ip(&bench.here, "neigh show proto 76");
        assert_eq!(kept.lines().count(), count as usize);
        host.close().await.expect("close");
    });
}

#[test]
fn a_silent_next_hop_is_named_with_its_backends_and_so_is_a_missing_route() {
    let bench = Bench::new();
    ip(&bench.here, "route add 10.20.0.0/16 via 10.9.0.66");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let all = addresses(["10.20.0.1", "10.20.0.2", "10.9.0.2", "192.0.2.1"]);
        host.keep_neighbours(all).await.expect("keep");
        let silent = |backend: &str| Unreachable {
            backend: backend.parse().expect("ip"),
            next_hop: Some("10.9.0.66".parse().expect("ip")),
        };
        let lost = Unreachable { backend: "192.0.2.1".parse().expect("ip"), next_hop: None };
        let expected = [lost, silent("10.20.0.1"), silent("10.20.0.2")];
        eventually(&mut host, |found| found == expected).await;
        ip(&bench.there, "addr add 10.9.0.66/24 dev e1");
        eventually(&mut host, |found| found == [lost]).await;
        host.close().await.expect("close");
    });
}

/// Its own MAC address changes without a word, or ours was wrong: a stale entry is asked again at
/// once, one that is sent to all the time every few seconds (cilium/cilium#34503).
#[test]
fn a_neighbour_with_another_mac_is_found_without_packets_of_the_kernel() {
    let bench = Bench::new();
    let (here, there) = (&bench.here, &bench.there);
    const BOTH: [&str; 2] = ["10.9.0.2", "fd09::2"];
    let knows = |mac: &str| {
        let seen = BOTH.map(|it| ip(here, &format!("neigh show {it} dev e0")));
        seen.iter().all(|it| it.contains(mac) && it.contains("REACHABLE"))
    };
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let e0 = host.find_interfaces(["e0"]).await.expect("e0")[0].index;
        host.confirm_neighbours([e0].into());
        ip(there, "link set e1 address 02:00:00:00:00:01");
        for it in BOTH {
            let wrong = format!("neigh replace {it} lladdr 02:de:ad:be:ef:01 dev e0 nud stale");
            ip(here, &wrong);
        }
        eventually(&mut host, |_| knows("02:00:00:00:00:01")).await;
        // One that nobody answers for is given up.
        ip(here, "neigh replace 10.9.0.99 lladdr 02:de:ad:be:ef:02 dev e0 nud stale");
        eventually(&mut host, |_| ip(here, "neigh show 10.9.0.99").contains("FAILED")).await;

        host.keep_neighbours(addresses(BOTH)).await.expect("keep");
        eventually(&mut host, |_| knows("02:00:00:00:00:01")).await;
        ip(there, "link set e1 address 02:00:00:00:00:02");
        eventually(&mut host, |_| knows("02:00:00:00:00:02")).await;
        let kept = ip(here, "neigh show proto 76");
        assert_eq!(kept.matches("managed").count(), 2, "{kept}");
        host.close().await.expect("close");
    });
}

fn resolved(listing: &str) -> usize {
    let states = ["REACHABLE", "STALE", "DELAY", "PROBE"];
    let is = |line: &&str| states.iter().any(|state| line.contains(state));
    listing.lines().filter(is).count()
}

async fn eventually(host: &mut Host, done: impl Fn(&[Unreachable]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = host.maintain_neighbours().await.expect("tend");
        if done(&found) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
