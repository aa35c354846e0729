//! What lb does to the host's network, and that it leaves nothing behind: in namespaces.

use std::{
    collections::BTreeSet,
    future::Future,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb::host::{Host, HostError, Unreachable, check_source_ports};
use lb_tests::{netns::Netns, process::PATIENCE, tag};
use socket2::{Domain, Protocol, Socket, Type};

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

async fn open(state: &Path) -> Host {
    match Host::open(state).await {
        Ok(host) => host,
        Err(error) => panic!("{error}"),
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
fn an_interface_that_is_not_ours_any_more_stops_forwarding() {
    let bench = Bench::new();
    ip(&bench.here, "link add x0 type veth peer name x1");
    let seen = |device| bench.sysctl(&format!("net/ipv6/conf/{device}/forwarding"));
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0", "x0"]).expect("forwarding");
        assert_eq!(["e0", "x0"].map(seen), ["1", "1"]);
    });
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["x0"]).expect("forwarding");
        assert_eq!(["e0", "x0"].map(seen), ["0", "1"]);
        assert_eq!(bench.sysctl("net/ipv6/conf/e0/accept_ra"), "1");
        host.close().await.expect("close");
    });
    assert_eq!(["e0", "x0"].map(seen), ["0", "0"]);
}

#[test]
fn forwarding_is_restored_but_not_what_others_set_since() {
    let bench = Bench::new();
    let mtu = "net/ipv6/conf/e0/accept_ra";
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0"]).expect("forwarding");
        assert_eq!(FORWARDING.map(|key| bench.sysctl(key)), ["1", "1"]);
        assert_eq!(bench.sysctl(mtu), "2", "advertisements still count");
        bench.here.set_sysctl(mtu, "0").expect("sysctl");
        host.close().await.expect("close");
    });
    assert_eq!(FORWARDING.map(|key| bench.sysctl(key)), ["0", "0"]);
    assert_eq!(bench.sysctl(mtu), "0");
    bench.here.set_sysctl(FORWARDING[0], "1").expect("sysctl");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0"]).expect("forwarding");
        host.close().await.expect("close");
    });
    assert_eq!(bench.sysctl(FORWARDING[0]), "1", "it was on before us");
}

#[test]
fn default_routes_from_advertisements_survive() {
    let bench = Bench::new();
    learn_default_routes(&bench);
    let accept_ra = ["e0", "x0"].map(|device| format!("net/ipv6/conf/{device}/accept_ra"));
    let seen = || accept_ra.each_ref().map(|key| bench.sysctl(key));
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0"]).expect("forwarding");
        assert_eq!(learnt(&bench).lines().count(), 2, "{}", learnt(&bench));
        assert_eq!(seen(), ["2", "1"], "the other one only for the moment");
        host.close().await.expect("close");
    });
    assert_eq!(learnt(&bench).lines().count(), 2, "{}", learnt(&bench));
    assert_eq!(seen(), ["1", "1"]);
}

/// The reason for all the care. Should this fail, the kernel has become kinder.
#[test]
fn bare_forwarding_drops_default_routes_of_every_interface() {
    let bench = Bench::new();
    learn_default_routes(&bench);
    bench.here.set_sysctl(FORWARDING[1], "1").expect("sysctl");
    assert_eq!(learnt(&bench), "");
}

/// From advertisements on `e0` and on `x0`.
fn learn_default_routes(bench: &Bench) {
    let second = format!("link add x0 type veth peer name x1 netns {}", bench.there.name());
    ip(&bench.here, &second);
    ip(&bench.here, "link set x0 up");
    ip(&bench.there, "link set x1 up");
    let deadline = Instant::now() + PATIENCE;
    while learnt(bench).lines().count() < 2 {
        assert!(Instant::now() < deadline, "{}", learnt(bench));
        advertise(&bench.there, "e1");
        advertise(&bench.there, "x1");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn learnt(bench: &Bench) -> String {
    ip(&bench.here, "-6 route show default proto ra")
}

/// Sends a router advertisement (RFC 4861, 4.2) with a lifetime of 1800 s to all nodes.
fn advertise(netns: &Netns, device: &str) {
    let send = || {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.set_multicast_hops_v6(255)?;
        let mut message = [0; 16];
        message[0] = 134;
        message[4] = 64;
        message[6..8].copy_from_slice(&1800_u16.to_be_bytes());
        let everyone: SocketAddr = "[ff02::1]:0".parse().expect("an address");
        socket.send_to(&message, &everyone.into())
    };
    // Without a link-local address, which takes a moment, this fails; the caller tries again.
    let _: std::io::Result<usize> = netns.within(send).expect("inside");
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
            let way = host.way_to(to.parse().expect("ip")).await.expect(to);
            assert_eq!(way.interface, e0, "{to}");
            assert_eq!(way.next_hop.to_string(), next_hop, "{to}");
            assert_eq!(way.source.to_string(), source, "{to}");
        }
        for to in ["10.40.0.1", "192.0.2.1", "2001:db8::9"] {
            let error = host.source_towards(to.parse().expect("ip")).await.unwrap_err();
            assert!(matches!(error, HostError::NoRoute { .. }), "{to}: {error}");
        }
        let error = host.way_to("10.9.0.1".parse().expect("ip")).await.unwrap_err();
        assert!(matches!(error, HostError::Local { .. }), "{error}");
    });
}

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

fn resolved(listing: &str) -> usize {
    let states = ["REACHABLE", "STALE", "DELAY", "PROBE"];
    let is = |line: &&str| states.iter().any(|state| line.contains(state));
    listing.lines().filter(is).count()
}

async fn eventually(host: &mut Host, done: impl Fn(&[Unreachable]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = host.tend().await.expect("tend");
        if done(&found) {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
