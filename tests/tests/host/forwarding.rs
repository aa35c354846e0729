//! Forwarding goes on, nothing that depends on it gets lost, and it goes off again.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_tests::lab::{netns::Netns, process::PATIENCE};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Bench, FORWARDING, ip, open};

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
    let accept_ra = "net/ipv6/conf/e0/accept_ra";
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        host.enable_forwarding(&["e0"]).expect("forwarding");
        assert_eq!(FORWARDING.map(|key| bench.sysctl(key)), ["1", "1"]);
        assert_eq!(bench.sysctl(accept_ra), "2", "advertisements still count");
        bench.here.set_sysctl(accept_ra, "0").expect("sysctl");
        host.close().await.expect("close");
    });
    assert_eq!(FORWARDING.map(|key| bench.sysctl(key)), ["0", "0"]);
    assert_eq!(bench.sysctl(accept_ra), "0");
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
