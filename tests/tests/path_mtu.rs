//! Path MTU discovery through a steered flow: a router's complaint reaches the backend.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    client::curl,
    config::steered,
    daemon::Daemon,
    netns::Netns,
    process::output,
    servers,
    topology::{INNER4, INNER6, Lab, vips},
};

const PORT: u16 = 9000;
const MTU: &str = "1400";

/// A client one hop further away. The client's namespace routes, over a link of which only the
/// far half is narrow: the far client offers segments of 1460 bytes, so that it takes the router
/// to tell the backend.
fn far_client(lab: &Lab) -> Result<Netns> {
    let far = Netns::create(&format!("lb-{}-far", lab.tag()))?;
    let router = &lab.client;
    router.ip(&format!("link add far0 type veth peer name eth0 netns {}", far.name()))?;
    output(far.command("ethtool").args(["-K", "eth0", "tx", "off"]))?;
    for line in ["addr add 10.103.0.1/24 dev far0", "addr add fd65:3::1/64 dev far0 nodad"] {
        router.ip(line)?;
    }
    for line in ["addr add 10.103.0.2/24 dev eth0", "addr add fd65:3::2/64 dev eth0 nodad"] {
        far.ip(line)?;
    }
    router.ip("link set far0 up")?;
    far.ip("link set eth0 up")?;
    router.ip(&format!("link set far0 mtu {MTU}"))?;
    far.ip("route add default via 10.103.0.1")?;
    far.ip("-6 route add default via fd65:3::1")?;
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    lab.lb.ip("route add 10.103.0.0/24 via 10.101.0.2")?;
    lab.lb.ip("-6 route add fd65:3::/64 via fd65:1::2")?;
    Ok(far)
}

#[test]
fn a_narrow_link_before_the_client_is_found() -> Result<()> {
    const BYTES: usize = 2_000_000;
    let lab = Lab::up()?;
    let far = far_client(&lab)?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("http", "tcp", PORT, &servers::addresses(&lab, servers::HTTP));
    let daemon = Daemon::start(&lab, &services)?;
    for (vip, ours) in vips(PORT).into_iter().zip([IpAddr::from(INNER4), INNER6.into()]) {
        let answer = curl(&far, &[&format!("http://{vip}/bytes/{BYTES}")])?;
        assert_eq!(answer.body.len(), BYTES, "{vip}");
        let learnt = lab.backends.iter().map(|it| it.netns.ip(&format!("route get {ours}")));
        let learnt = learnt.collect::<Result<String>>()?;
        ensure!(learnt.contains(&format!("mtu {MTU}")), "no backend was told: {learnt}");
    }
    let status = daemon.when_quiet()?;
    assert_eq!(status.dropped("icmp_unknown_flow"), 0);
    assert_eq!(status.service("http").context("http")?.connections(), 2);
    daemon.stop()
}
