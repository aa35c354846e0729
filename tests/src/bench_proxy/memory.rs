//! What an idle TLS connection holds: handshake done, one request answered, nothing more asked.

use anyhow::Result;

use super::{
    contender::{Contender, Contenders},
    ports::HTTPS,
    report::{Memory, Report},
    rustls_client::Client,
};
use crate::{lab::topology::Lab, measure::cpu};

const CONNECTIONS: usize = 4000;
/// Before the first look: what is allocated once is not a connection's.
const FIRST: usize = 200;

pub(super) fn measure(lab: &Lab, contenders: &Contenders, report: &mut Report) -> Result<()> {
    eprintln!("bench: memory");
    for contender in contenders.all() {
        let kib = lab.lb.within(|| hold(contender))??;
        report.memory.push(Memory { proxy: contender.name, kib });
    }
    Ok(())
}

fn hold(contender: &Contender) -> Result<f64> {
    let client = Client::new()?;
    let mut held = Vec::new();
    let mut add = |number: usize| -> Result<f64> {
        for _ in 0..number {
            held.push(client.visit(contender.at(HTTPS), false)?);
        }
        cpu::resident(&contender.ids)
    };
    let before = add(FIRST)?;
    Ok((add(CONNECTIONS)? - before) / CONNECTIONS as f64)
}
