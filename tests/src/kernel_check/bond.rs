//! XDP on a bond: native, handed on to its ports.
//!
//! ```text
//! client bond0 ═ eth0 ── a0 ═ bond0 lb
//!              ═ eth1 ── a1 ═
//! ```

use anyhow::Result;

use super::diagnosed::Scene;
use crate::lab::{
    far_end,
    netns::Netns,
    process::output,
    topology::{CLIENT4, CLIENT6, Lab},
};

const PORTS: [(&str, &str); 2] = [("eth0", "a0"), ("eth1", "a1")];

/// One port carries everything; then its cable is cut.
pub(super) fn active_backup() -> Result<()> {
    let scene = Scene::up(["bond0", "down0"], |lab| bonded(lab, "active-backup"))?;
    scene.serves(["native", "native"])?;
    scene.lab.client.ip("link set eth0 down")?;
    scene.serves(["native", "native"])?;
    scene.end()
}

/// Both ports carry frames, which one is decided by their addresses.
pub(super) fn balance_xor() -> Result<()> {
    let scene =
        Scene::up(["bond0", "down0"], |lab| bonded(lab, "balance-xor xmit_hash_policy layer3+4"))?;
    scene.serves(["native", "native"])?;
    scene.end()
}

/// In place of the cable between client and lb two, bonded at either end.
fn bonded(lab: &Lab, mode: &str) -> Result<()> {
    lab.lb.ip("link del up0")?;
    for (client, lb) in PORTS {
        lab.client
            .ip(&format!("link add {client} type veth peer name {lb} netns {}", lab.lb.name()))?;
        let mut ethtool = lab.client.command("ethtool");
        ethtool.args(["-K", client, "tx", "off", "tso", "off", "gso", "off", "gro", "on"]);
        output(&mut ethtool)?;
        far_end::attach(&lab.client, client, lab.directory())?;
    }
    bond(&lab.client, mode, PORTS.map(|(client, _)| client))?;
    bond(&lab.lb, mode, PORTS.map(|(_, lb)| lb))?;
    lab.client.ip(&format!("addr add {CLIENT4}/24 dev bond0"))?;
    lab.client.ip(&format!("addr add {CLIENT6}/64 dev bond0 nodad"))?;
    lab.lb.ip("addr add 10.101.0.1/24 dev bond0")?;
    lab.lb.ip("addr add fd65:1::1/64 dev bond0 nodad")?;
    lab.client.ip("route replace default via 10.101.0.1")?;
    lab.client.ip("-6 route replace default via fd65:1::1")?;
    lab.wait_for_links()
}

fn bond(netns: &Netns, mode: &str, ports: [&str; 2]) -> Result<()> {
    netns.ip(&format!("link add bond0 type bond miimon 50 mode {mode}"))?;
    for port in ports {
        netns.ip(&format!("link set {port} down"))?;
        netns.ip(&format!("link set {port} master bond0"))?;
        netns.ip(&format!("link set {port} up"))?;
    }
    netns.ip("link set bond0 up").map(drop)
}
