//! What others undo is noticed, put right, and undone in the end all the same.

use std::{collections::BTreeSet, net::IpAddr};

use lb::host::{Changes, Host, HostError, HostWatch};
use tokio::time::timeout;

use super::{Bench, FORWARDING, addresses, ip, open};
use lb_tests::lab::process::PATIENCE;

const VIPS: [&str; 2] = ["203.0.113.1", "2001:db8::1"];

async fn told(watch: &mut HostWatch, of: impl Fn(Changes) -> bool) {
    let wait = async { while !of(watch.changed().await) {} };
    timeout(PATIENCE, wait).await.expect("the kernel tells of it");
}

#[test]
fn the_kernel_tells_of_what_we_depend_on() {
    let bench = Bench::new();
    let here = &bench.here;
    bench.run(|| async {
        let mut watch = HostWatch::open().expect("a watch");
        ip(here, "route add local 203.0.113.1 dev lo table local");
        told(&mut watch, |it| it.local_routes).await;
        ip(here, "-6 route add local 2001:db8::1 dev lo table local");
        told(&mut watch, |it| it.local_routes).await;
        for family in ["", "-6"] {
            let to = if family.is_empty() { "10.20.0.0/16" } else { "fd20::/16" };
            ip(here, &format!("{family} route add unreachable {to}"));
            told(&mut watch, |it| it.routes).await;
        }
        ip(here, "addr add 10.9.0.77/24 dev e0");
        told(&mut watch, |it| it.addresses).await;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            here.set_sysctl(key, "1").expect("sysctl");
            told(&mut watch, |it| it.settings).await;
        }
        ip(here, "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:77 dev e0 nud stale");
        told(&mut watch, |it| it.neighbours).await;
        ip(here, "link add x0 type veth peer name x1");
        told(&mut watch, |it| it.links).await;
    });
}

/// A reader that is too slow loses messages, and is told that it did.
#[test]
fn after_too_much_at_once_everything_counts_as_changed() {
    let bench = Bench::new();
    let flood: String = (0..40_000_u32)
        .map(|n| format!("route add unreachable 100.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255))
        .collect();
    let file = bench.state.with_extension("flood");
    std::fs::write(&file, flood).expect("a file");
    bench.run(|| async {
        let mut watch = HostWatch::open().expect("a watch");
        ip(&bench.here, &format!("-batch {}", file.display()));
        assert_eq!(watch.changed().await, Changes::ALL);
    });
    std::fs::remove_file(&file).expect("removed");
}

#[test]
fn a_local_route_that_somebody_removed_is_found_and_comes_back() {
    let bench = Bench::new();
    let here = &bench.here;
    ip(here, "addr add 203.0.113.9/32 dev e0");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let all: BTreeSet<_> =
            addresses(VIPS).into_iter().chain(addresses(["203.0.113.9"])).collect();
        host.announce(&all).await.expect("announce");
        assert!(lost(&host).await.is_empty());
        ip(here, "route del local 203.0.113.1 table local");
        ip(here, "-6 route del local 2001:db8::1 table local");
        assert_eq!(lost(&host).await, VIPS.map(parse));
        for vip in VIPS.map(parse) {
            assert!(host.restore_address(vip).await.expect("restored"), "it was ours");
        }
        assert!(lost(&host).await.is_empty());

        // The kernel takes the routes of a link along when it goes down, and tells of none.
        let mut watch = HostWatch::open().expect("a watch");
        ip(here, "link set lo down");
        told(&mut watch, |it| it.links).await;
        ip(here, "link set lo up");
        for vip in lost(&host).await {
            host.restore_address(vip).await.expect("restored");
        }
        assert!(lost(&host).await.is_empty());

        // As VRRP does.
        ip(here, "addr del 203.0.113.9/32 dev e0");
        let vip = parse("203.0.113.9");
        assert_eq!(lost(&host).await, [vip]);
        assert!(!host.restore_address(vip).await.expect("restored"), "an interface's until now");

        ip(here, "route replace blackhole 203.0.113.1 table local");
        assert_eq!(lost(&host).await, [parse(VIPS[0])]);
        let error = host.restore_address(parse(VIPS[0])).await.unwrap_err();
        assert!(matches!(error, HostError::Shadowed { .. }), "{error}");
        ip(here, "route del blackhole 203.0.113.1 table local");
        host.close().await.expect("close");
    });
    let left = ip(here, "route show table local proto 76");
    assert_eq!(left + &ip(here, "-6 route show table local proto 76"), "");
}

#[test]
fn settings_that_somebody_sets_back_are_ours_again_and_in_the_end_theirs() {
    let bench = Bench::new();
    let both = || FORWARDING.map(|key| bench.sysctl(key));
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0"]).expect("forwarding");
        assert!(host.lost_settings().expect("read").is_empty());
        for round in 0..3 {
            // What reaches every interface: `sysctl --system`, a container runtime that ends.
            for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
                bench.here.set_sysctl(key, "1").expect("sysctl");
                bench.here.set_sysctl(key, "0").expect("sysctl");
            }
            bench.here.set_sysctl("net/ipv6/conf/e0/accept_ra", "1").expect("sysctl");
            assert_eq!(both(), ["0", "0"], "{round}");
            let lost = host.lost_settings().expect("read");
            assert_eq!(lost.len(), 3, "{lost:?}");
            for (key, value) in lost {
                host.restore_setting(&key, &value).expect("restored");
            }
            assert_eq!(both(), ["1", "1"], "{round}");
            assert_eq!(bench.sysctl("net/ipv6/conf/e0/accept_ra"), "2");
        }
        bench.here.set_sysctl("net/ipv6/conf/e0/accept_ra", "0").expect("sysctl");
        assert!(host.lost_settings().expect("read").is_empty(), "an administrator's own value");
        host.close().await.expect("close");
    });
    assert_eq!(both(), ["0", "0"]);
}

async fn lost(host: &Host) -> Vec<IpAddr> {
    host.lost_addresses().await.expect("the kernel answers")
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
