//! Resets that reach the client from announced addresses, counted by its own kernel.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::names::WANTED;
use crate::lab::{
    process::output,
    topology::{Lab, VIP4, VIP6},
};

/// Begins to count, for each port.
pub(super) fn watch(lab: &Lab) -> Result<()> {
    let counters = WANTED.map(|port| format!("counter from{port} {{ }}\n")).concat();
    let rules = WANTED.map(|port| {
        let rule = format!("tcp sport {port} tcp flags & rst == rst counter name from{port}");
        format!("ip saddr {VIP4} {rule}\nip6 saddr {VIP6} {rule}\n")
    });
    let table = format!(
        "table inet torture {{\n{counters}\
         chain in {{\ntype filter hook input priority 0;\n{}}}\n}}\n",
        rules.concat()
    );
    let file = lab.directory().join("resets.nft");
    std::fs::write(&file, table)?;
    output(lab.client.command("nft").arg("-f").arg(&file)).map(drop)
}

/// How many there were, by the port that they came from; of ports that sent any.
pub(super) fn count(lab: &Lab) -> Result<Vec<(u16, u64)>> {
    let mut nft = lab.client.command("nft");
    let text = output(nft.args(["-j", "list", "counters", "table", "inet", "torture"]))?;
    let listed: Value = serde_json::from_str(&text)?;
    let objects = listed["nftables"].as_array().context("nft lists nothing")?;
    let counted = |port: u16| {
        let name = format!("from{port}");
        let mut counters = objects.iter().map(|object| &object["counter"]);
        let counter = counters.find(|counter| counter["name"] == name.as_str());
        let packets = counter.and_then(|counter| counter["packets"].as_u64());
        Ok((port, packets.with_context(|| format!("nft printed {text}"))?))
    };
    let all: Vec<_> = WANTED.into_iter().map(counted).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|(_, packets)| *packets > 0).collect())
}
