//! The proxy beside nginx and HAProxy: the same work from the same clients for the same origin, in
//! turns in one run, each proxy alone on one core. Everything is on loopback, so that nobody pays
//! for a network that the others do not have; medians count.

mod contender;
mod extent;
mod handshakes;
mod haproxy;
mod listening;
mod load;
mod memory;
mod nginx;
mod origin;
mod ports;
mod report;
mod rustls_client;
mod tunnel;
mod turn;

use anyhow::{Result, ensure};

use self::{contender::Contenders, extent::OTHER_CORE, turn::Turns};
pub use self::{extent::Extent, report::Report};
use crate::{
    demo::setting::certificate,
    lab::{interrupt::Interrupt, topology::Lab},
    measure::cpu,
};

/// Runs the cases whose name contains `only`.
pub fn run(extent: Extent, only: &str, interrupt: &Interrupt) -> Result<Report> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores > OTHER_CORE, "the bench needs two cores: one for the proxies, one for the rest");
    cpu::pin(std::process::id(), OTHER_CORE)?;
    let lab = Lab::up()?;
    certificate(lab.directory())?;
    let _origin = origin::start(&lab)?;
    let contenders = Contenders::start(&lab)?;
    let mut report = Report::default();
    if "memory".contains(only) {
        memory::measure(&lab, &contenders, &mut report)?;
    }
    let turns = Turns { contenders: &contenders, extent, interrupt };
    for case in load::CASES.iter().filter(|case| case.name.contains(only)) {
        turns.take(case.name, case.per, &mut report, |contender| {
            case.run(&lab, contender, extent)
        })?;
    }
    if handshakes::NAME.contains(only) {
        let work = |contender: &_| handshakes::run(&lab, contender, extent);
        turns.take(handshakes::NAME, "connection", &mut report, work)?;
    }
    if tunnel::NAME.contains(only) {
        turns.take(tunnel::NAME, "MiB", &mut report, |it| tunnel::run(&lab, it, extent))?;
    }
    contenders.stop()?;
    Ok(report)
}
