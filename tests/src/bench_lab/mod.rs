//! Real traffic through two labs that stand side by side: one balanced by lb, one without it. Each
//! case measures both in turns, in one run, and compares medians.

mod peer;
mod proxied;
mod report;
mod steered;

use anyhow::Result;

pub use self::report::{Case, Report, Rounds};
use crate::lab::{interrupt::Interrupt, topology::Lab};

/// Runs all cases.
pub fn run(rounds: Rounds, interrupt: &Interrupt) -> Result<Report> {
    let (ours, theirs) = (Lab::up()?, Lab::up()?);
    let mut report = Report::default();
    steered::measure(&ours, &theirs, rounds, interrupt, &mut report)?;
    proxied::measure(&ours, &theirs, rounds, interrupt, &mut report)?;
    Ok(report)
}
