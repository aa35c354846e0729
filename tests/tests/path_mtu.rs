//! Path MTU discovery through a steered flow: a router's complaint reaches the backend.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::curl, servers},
    daemon::{config::steered, process::Daemon},
    lab::{
        far_client,
        topology::{INNER4, INNER6, Lab, vips},
    },
};

const PORT: u16 = 9000;

#[test]
fn a_narrow_link_before_the_client_is_found() -> Result<()> {
    const BYTES: usize = 2_000_000;
    let lab = Lab::up()?;
    let far = far_client::start(&lab)?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("http", "tcp", PORT, &servers::addresses(&lab, servers::HTTP));
    let daemon = Daemon::start(&lab, &services)?;
    for (vip, ours) in vips(PORT).into_iter().zip([IpAddr::from(INNER4), INNER6.into()]) {
        let answer = curl(&far, &[&format!("http://{vip}/bytes/{BYTES}")])?;
        assert_eq!(answer.body.len(), BYTES, "{vip}");
        let learnt = lab.backends.iter().map(|it| it.netns.ip(&format!("route get {ours}")));
        let learnt = learnt.collect::<Result<String>>()?;
        ensure!(
            learnt.contains(&format!("mtu {}", far_client::MTU)),
            "no backend was told: {learnt}"
        );
    }
    let status = daemon.when_quiet()?;
    assert_eq!(status.dropped("icmp_unknown_flow"), 0);
    assert_eq!(status.service("http").context("http")?.connections(), 2);
    daemon.stop()
}
