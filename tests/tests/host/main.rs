//! What lb does to the host's network, and that it leaves nothing behind: in namespaces.

mod answering;
mod changes;
mod daemon;
mod forwarding;
mod neighbours;

use std::{
    collections::BTreeSet,
    future::Future,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb::host::{Host, HostError, check_source_ports};
use lb_tests::lab::{netns::Netns, process::PATIENCE, tag};

/// A namespace `here` whose `e0` leads to `there`, with addresses on both ends, and a state
/// directory. All goes away with it.
struct Bench {
    here: Netns,
    there: Netns,
    state: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tag = tag::own();
        let here = tag::namespace(&tag, "a").expect("a namespace");
        let there = tag::namespace(&tag, "b").expect("a namespace");
        ip(&here, &format!("link add e0 type veth peer name e1 netns {}", there.name()));
        for (netns, device, host) in [(&here, "e0", 1), (&there, "e1", 2)] {
            ip(netns, &format!("addr add 10.9.0.{host}/24 dev {device}"));
            ip(netns, &format!("addr add fd09::{host}/64 dev {device} nodad"));
            ip(netns, &format!("link set {device} up"));
        }
        Self { here, there, state: tag::directory(&tag) }
    }

    /// On a thread inside of `here`, with a runtime of its own.
    fn run<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce() -> F + Send) -> T {
        let inside = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(work())
        };
        self.here.within(inside).expect("inside")
    }

    fn sysctl(&self, key: &str) -> String {
        self.here.sysctl(key).expect("sysctl")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

fn ip(netns: &Netns, arguments: &str) -> String {
    netns.ip(arguments).expect("ip")
}

/// Locks outlive who drops them for a moment: a program that another test has just forked holds
/// them until it is executed.
async fn open(state: &Path) -> Host {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Host::open(state).await {
            Ok(host) => return host,
            Err(HostError::NamespaceTaken | HostError::Running { .. })
                if Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn addresses<const N: usize>(texts: [&str; N]) -> BTreeSet<IpAddr> {
    texts.map(|text| text.parse().expect("an address")).into()
}

const FORWARDING: [&str; 2] = ["net/ipv4/conf/e0/forwarding", "net/ipv6/conf/e0/forwarding"];

#[test]
fn announced_addresses_are_local_until_the_end() {
    let bench = Bench::new();
    let local = || {
        let both = ["-4", "-6"]
            .map(|family| ip(&bench.here, &format!("{family} route show table local proto 76")));
        both.concat().lines().count()
    };
    ip(&bench.here, "route add local 203.0.113.3/32 dev lo");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let first = addresses(["203.0.113.1", "203.0.113.3", "2001:db8::1"]);
        host.announce(&first).await.expect("announce");
        assert_eq!(local(), 2, "one was local before");
        let second = addresses(["203.0.113.1", "203.0.113.2", "2001:db8::2"]);
        host.announce(&second).await.expect("announce");
        assert_eq!(local(), 3);
        ip(&bench.here, "route del local 203.0.113.2/32 dev lo");
        host.close().await.expect("close");
    });
    assert_eq!(local(), 0);
    let all = ip(&bench.here, "route show table local");
    assert!(all.contains("203.0.113.3"), "not ours, stays: {all}");
}

#[test]
fn the_next_one_goes_on_and_undoes_it_in_the_end() {
    let bench = Bench::new();
    ip(&bench.here, "route add 10.20.0.0/16 via 10.9.0.3");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.announce(&addresses(["203.0.113.1", "2001:db8::1"])).await.expect("announce");
        host.enable_forwarding(&["e0"]).expect("forwarding");
        host.keep_neighbours(addresses(["10.9.0.2", "10.20.0.1"])).await.expect("neighbours");
        drop(host);
    });
    let seen = || {
        let routes = ["-4", "-6"]
            .map(|family| ip(&bench.here, &format!("{family} route show table local proto 76")));
        (routes, ip(&bench.here, "neigh show proto 76"), FORWARDING.map(|key| bench.sysctl(key)))
    };
    let left = seen();
    assert!(left.0[0].contains("203.0.113.1") && left.0[1].contains("2001:db8::1"), "{left:?}");
    assert!(left.1.contains("10.9.0.2") && left.1.contains("10.9.0.3"), "{left:?}");
    assert_eq!(left.2, ["1", "1"]);
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        assert_eq!(seen().0, left.0, "the new one waits for orders");
        host.enable_forwarding(&["e0"]).expect("forwarding");
        assert_eq!(seen().2, left.2);
        host.announce(&addresses(["203.0.113.1"])).await.expect("announce");
        host.keep_neighbours(addresses(["10.9.0.2"])).await.expect("neighbours");
        let (routes, neighbours, _) = seen();
        assert_eq!(routes, [left.0[0].clone(), String::new()], "what nobody wants goes");
        assert!(neighbours.contains("10.9.0.2") && !neighbours.contains("10.9.0.3"));
        let undone = host.close().await.expect("close");
        assert_eq!(undone.routes, addresses(["203.0.113.1"]));
        assert_eq!(undone.neighbours, addresses(["10.9.0.2"]));
        assert!(FORWARDING.iter().all(|&key| undone.settings.contains(key)), "{undone:?}");
    });
    assert_eq!(seen(), ([String::new(), String::new()], String::new(), ["0", "0"].map(Into::into)));
    assert!(!bench.state.join("undo.json").exists());
}

#[test]
fn one_daemon_per_namespace_and_per_state_directory() {
    let (bench, elsewhere) = (Bench::new(), Bench::new());
    let first = bench.run(|| async { open(&bench.state).await });
    let refused = |bench: &Bench, state: &Path| {
        bench.run(|| async { Host::open(state).await.err().expect("refused") })
    };
    let error = refused(&bench, &elsewhere.state);
    assert!(matches!(error, HostError::NamespaceTaken), "{error}");
    let error = refused(&elsewhere, &bench.state);
    assert!(matches!(error, HostError::Running { .. }), "{error}");
    drop(first);
    bench.run(|| async { open(&bench.state).await.close().await.expect("close") });
}

#[test]
fn the_way_is_the_one_of_the_routing_table() {
    let bench = Bench::new();
    ip(&bench.here, "route add 10.20.0.0/16 via 10.9.0.2 src 10.9.0.1");
    ip(&bench.here, "route add 10.30.0.0/16 via inet6 fd09::2");
    ip(&bench.here, "-6 route add fd20::/16 via fd09::2");
    ip(&bench.here, "route add blackhole 10.40.0.0/16");
    bench.run(|| async {
        let host = open(&bench.state).await;
        let e0 = host.find_interfaces(["e0"]).await.expect("e0")[0].index;
        for (to, next_hop, source) in [
            ("10.9.0.2", "10.9.0.2", "10.9.0.1"),
            ("10.20.3.4", "10.9.0.2", "10.9.0.1"),
            ("10.30.3.4", "fd09::2", "10.9.0.1"),
            ("fd09::2", "fd09::2", "fd09::1"),
            ("fd20::5", "fd09::2", "fd09::1"),
        ] {
            let way = host.route_to(to.parse().expect("ip")).await.expect(to);
            assert_eq!(way.interface, e0, "{to}");
            assert_eq!(way.next_hop.to_string(), next_hop, "{to}");
            assert_eq!(way.source.to_string(), source, "{to}");
        }
        for to in ["10.40.0.1", "192.0.2.1", "2001:db8::9"] {
            let error = host.source_towards(to.parse().expect("ip")).await.unwrap_err();
            assert!(matches!(error, HostError::NoRoute { .. }), "{to}: {error}");
        }
        let error = host.route_to("10.9.0.1".parse().expect("ip")).await.unwrap_err();
        assert!(matches!(error, HostError::Local { .. }), "{error}");
    });
}

#[test]
fn interfaces_are_found_by_name_and_unknown_ones_explained() {
    let bench = Bench::new();
    bench.run(|| async {
        let host = open(&bench.state).await;
        let found = host.find_interfaces(["e0", "lo"]).await.expect("found");
        let names = found.iter().map(|found| (found.name.as_str(), found.vlan));
        assert!(names.eq([("e0", None), ("lo", None)]));
        let error = host.find_interfaces(["e7"]).await.unwrap_err().to_string();
        assert!(error.contains("`e7`") && error.contains("lo, "), "{error}");
    });
}

#[test]
fn source_ports_must_not_be_ephemeral() {
    let bench = Bench::new();
    let range = "net/ipv4/ip_local_port_range";
    bench.here.set_sysctl(range, "32768 60999").expect("sysctl");
    let check = |ports| bench.here.within(move || check_source_ports(&ports)).expect("inside");
    check(2048..=32767).expect("disjoint");
    let error = check(2048..=32768).unwrap_err().to_string();
    assert!(error.contains("2048-32768") && error.contains("32768-60999"), "{error}");
    let reserved = "net/ipv4/ip_local_reserved_ports";
    bench.here.set_sysctl(reserved, "32768-33000").expect("sysctl");
    check(2048..=33000).expect("reserved");
}
