//! The demo: a lab, the daemon, real traffic, and what came of it.

mod progress;
pub mod report;
pub mod setting;
pub mod traffic;

use anyhow::Result;

use self::{progress::step, report::Report, setting::Setting, traffic::Tally};
use crate::{
    daemon::process,
    lab::{interrupt::Interrupt, topology},
};

/// Runs the whole demo. With `keep` the lab, its servers and the daemon stay.
pub fn run(keep: bool, interrupt: &Interrupt) -> Result<Report> {
    let mut setting = if keep {
        topology::remove(topology::KEPT)?;
        Setting::up(Some(topology::KEPT))?
    } else {
        Setting::up(None)?
    };
    let report = show(&setting, interrupt)?;
    if keep {
        setting.keep();
        return Ok(report);
    }
    step("stopping lb: the pass-through data path goes on without it");
    setting.daemon.stop()?;
    step("lb detach: programs detached, tables and routes removed");
    process::detach(&setting.lab)?;
    Ok(report)
}

fn show(setting: &Setting, interrupt: &Interrupt) -> Result<Report> {
    let mut tally = Tally::default();
    let (lab, daemon) = (&setting.lab, &setting.daemon);
    interrupt.check()?;
    // UDP first: its flows are silent for long enough to be forgotten while the others run.
    traffic::udp(lab, &mut tally, interrupt)?;
    traffic::tcp(lab, &mut tally, interrupt)?;
    traffic::web(lab, &setting.authority, &mut tally, interrupt)?;
    step("holding connections open, to look at the live counts that XDP and the proxy share");
    let held = traffic::hold(lab, &setting.authority, &mut tally, || daemon.status())?;
    interrupt.check()?;
    let end = daemon.when_quiet()?;
    Ok(Report::new(tally, &held, end))
}
