//! Who answers ARP and neighbour discovery for an announced address in a link's network.

use std::{
    collections::BTreeSet,
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use lb::{
    host::{Host, Interface},
    settings::AnswerNeighbours::{Always, Assigned, Never},
};
use lb_tests::lab::{netns::Netns, process::PATIENCE};

use super::{Bench, addresses, ip, open};

const VIPS: [&str; 2] = ["10.9.0.100", "fd09::100"];

/// Which of the addresses anybody answers for, as `netns` sees it on its link. All are asked for at
/// once; the kernel gives up after three seconds.
fn answered<const N: usize>(netns: &Netns, addresses: [&str; N]) -> [bool; N] {
    ip(netns, "neigh flush all");
    ip(netns, "-6 neigh flush all");
    let ask = |address: &str| {
        let address: IpAddr = address.parse().expect("an address");
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.send_to(b"?", (address, 9)).expect("sent");
    };
    netns.within(|| addresses.iter().for_each(|address| ask(address))).expect("inside");
    let deadline = Instant::now() + PATIENCE;
    addresses.map(|address| {
        loop {
            let entry = ip(netns, &format!("neigh show {address}"));
            if entry.contains("FAILED") || entry.contains("lladdr") {
                return entry.contains("lladdr");
            }
            assert!(Instant::now() < deadline, "{address}: {entry}");
            std::thread::sleep(Duration::from_millis(50));
        }
    })
}

async fn e0(host: &Host) -> Interface {
    host.find_interfaces(["e0"]).await.expect("e0").remove(0)
}

fn settings(bench: &Bench) -> [String; 4] {
    let keys = ["ipv4/conf/e0/arp_ignore", "ipv4/conf/e0/arp_announce", "ipv6/conf/e0/proxy_ndp"];
    let [ignore, announce, proxy] = keys.map(|key| bench.sysctl(&format!("net/{key}")));
    [ignore, announce, proxy, bench.sysctl("net/ipv6/neigh/e0/proxy_delay")]
}

/// Neither of two nodes answers for an address that the other one holds (metallb/metallb#153), and
/// both families go by one rule (metallb/metallb#2920).
#[test]
fn an_address_is_answered_for_as_the_configuration_says() {
    let bench = Bench::new();
    let (here, there) = (&bench.here, &bench.there);
    // The host's own, which stays as it is: also what is on another interface.
    ip(here, "addr add 10.9.0.50/32 dev lo");
    let before = settings(&bench);
    let vips = addresses(VIPS);
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let e0 = e0(&host).await;
        host.answer_neighbours(Assigned, &[&e0], &vips).await.expect("assigned");
        host.announce(&vips).await.expect("announced");
        let [v4, v6] = VIPS;
        let own = ["10.9.0.1", "fd09::1", "10.9.0.50"];
        let all = [v4, v6, own[0], own[1], own[2]];
        assert_eq!(answered(there, all), [false, false, true, true, true]);
        // As the master of a VRRP group has them.
        for vip in [format!("{v4}/32"), format!("{v6}/128")] {
            ip(here, &format!("addr add {vip} dev e0 nodad"));
        }
        assert_eq!(answered(there, VIPS), [true, true]);
        for vip in [format!("{v4}/32"), format!("{v6}/128")] {
            ip(here, &format!("addr del {vip} dev e0"));
        }
        for lost in host.lost_addresses().await.expect("the kernel answers") {
            host.restore_address(lost).await.expect("restored");
        }
        assert_eq!(answered(there, VIPS), [false, false]);

        host.enable_forwarding(&["e0"]).expect("forwarding");
        host.answer_neighbours(Always, &[&e0], &vips).await.expect("always");
        assert_eq!(answered(there, VIPS), [true, true]);
        ip(here, "link set e0 down");
        ip(here, "link set e0 up");
        host.answer_neighbours(Always, &[&e0], &vips).await.expect("always");
        ip(here, "addr replace fd09::1/64 dev e0 nodad");
        assert_eq!(answered(there, VIPS), [true, true], "the link took the entries along");
        drop(host);
    });
    assert_eq!(answered(there, VIPS), [true, true], "no daemon is needed for it");
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let e0 = e0(&host).await;
        host.answer_neighbours(Never, &[&e0], &vips).await.expect("never");
        assert_eq!(answered(there, VIPS), [false, false]);
        assert_eq!(settings(&bench)[..2], ["3", "2"]);
        host.answer_neighbours(Always, &[&e0], &vips).await.expect("always");
        host.close().await.expect("close");
    });
    assert_eq!(settings(&bench), before);
    assert_eq!(ip(here, "-6 neigh show proxy"), "");
}

#[test]
fn a_host_that_is_stricter_by_itself_stays_so() {
    let bench = Bench::new();
    let ignore = "net/ipv4/conf/e0/arp_ignore";
    bench.run(|| async {
        let mut host = open(&bench.state).await;
        let e0 = e0(&host).await;
        let none = BTreeSet::new();
        bench.here.set_sysctl(ignore, "1").expect("sysctl");
        host.answer_neighbours(Assigned, &[&e0], &none).await.expect("assigned");
        assert_eq!(bench.sysctl(ignore), "1");
        assert_eq!(host.arp_ignore("e0").expect("read"), 1);
        bench.here.set_sysctl(ignore, "0").expect("sysctl");
        bench.here.set_sysctl("net/ipv4/conf/all/arp_ignore", "2").expect("sysctl");
        host.answer_neighbours(Assigned, &[&e0], &none).await.expect("assigned");
        assert_eq!(bench.sysctl(ignore), "0", "3 would be laxer than 2 for all");
        bench.here.set_sysctl("net/ipv4/conf/all/arp_ignore", "0").expect("sysctl");
        host.answer_neighbours(Assigned, &[&e0], &none).await.expect("assigned");
        assert_eq!(bench.sysctl(ignore), "3");
        assert_eq!(host.arp_ignore("e0").expect("read"), 0, "what is ours is not the host's own");
        host.close().await.expect("close");
    });
    assert_eq!(bench.sysctl(ignore), "0");
}
