//! Tagged frames: XDP at the parent of VLAN devices sees them with their tags, at a VLAN device
//! itself without.
//!
//! ```text
//! client eth0.42 · eth0 ══ up0 · up0.42 lb down0.43 · down0 ══ port0 · port0.43 fabric(br0)
//! ```

use anyhow::Result;

use super::diagnosed::Scene;
use crate::lab::{
    netns::Netns,
    process::output,
    topology::{CLIENT4, CLIENT6, INNER4, INNER6, Lab},
};

/// The program stands at the trunks.
pub(super) fn tagged() -> Result<()> {
    let scene = Scene::up(["up0", "down0"], trunks)?;
    scene.serves(["native", "native"])?;
    scene.end()
}

/// It stands at the VLAN devices, by their names: generic, and behind the kernel's untagging.
pub(super) fn by_its_name() -> Result<()> {
    let scene = Scene::up(["up0.42", "down0.43"], trunks)?;
    scene.serves(["generic", "generic"])?;
    scene.end()
}

fn trunks(lab: &Lab) -> Result<()> {
    let Lab { client, lb, fabric, .. } = lab;
    vlan(client, "eth0", 42)?;
    vlan(lb, "up0", 42)?;
    vlan(lb, "down0", 43)?;
    for device in ["up0", "down0"] {
        lb.ip(&format!("addr flush dev {device}"))?;
    }
    client.ip("addr flush dev eth0")?;
    give(client, "eth0.42", &format!("{CLIENT4}/24"), &format!("{CLIENT6}/64"))?;
    give(lb, "up0.42", "10.101.0.1/24", "fd65:1::1/64")?;
    give(lb, "down0.43", &format!("{INNER4}/24"), &format!("{INNER6}/64"))?;
    fabric.ip("link set port0 nomaster")?;
    vlan(fabric, "port0", 43)?;
    fabric.ip("link set port0.43 master br0")?;
    client.ip("route replace default via 10.101.0.1")?;
    client.ip("-6 route replace default via fd65:1::1").map(drop)
}

fn vlan(netns: &Netns, parent: &str, id: u16) -> Result<()> {
    // Or a veth would carry the tag beside the frame, where XDP does not look.
    output(netns.command("ethtool").args(["-K", parent, "txvlan", "off", "rxvlan", "off"]))?;
    netns.ip(&format!("link add link {parent} name {parent}.{id} type vlan id {id}"))?;
    netns.ip(&format!("link set {parent}.{id} up")).map(drop)
}

fn give(netns: &Netns, device: &str, v4: &str, v6: &str) -> Result<()> {
    netns.ip(&format!("addr add {v4} dev {device}"))?;
    netns.ip(&format!("addr add {v6} dev {device} nodad")).map(drop)
}
