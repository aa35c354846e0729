//! Real traffic through two labs that stand side by side: one balanced by lb, one without it. Each
//! case measures both in turns, in one run, and compares medians.

mod peer;
mod proxied;
mod steered;

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::{interrupt::Interrupt, topology::Lab};

/// One figure of ours beside the same of a peer.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    pub name: String,
    pub unit: &'static str,
    pub ours: f64,
    pub peer: f64,
    /// `ours / peer`.
    pub ratio: f64,
    /// Who the peer is.
    pub against: &'static str,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub cases: Vec<Case>,
}

/// How long and how often each case is measured.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub rounds: u32,
    pub seconds: u32,
}

/// Runs all cases.
pub fn run(rounds: Rounds, interrupt: &Interrupt) -> Result<Report> {
    let (ours, theirs) = (Lab::up()?, Lab::up()?);
    let mut report = Report::default();
    steered::measure(&ours, &theirs, rounds, interrupt, &mut report)?;
    proxied::measure(&ours, &theirs, rounds, interrupt, &mut report)?;
    Ok(report)
}

impl Report {
    fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        against: &'static str,
        ours: Vec<f64>,
        peer: Vec<f64>,
    ) {
        let (ours, peer) = (median(ours), median(peer));
        self.cases.push(Case { name: name.into(), unit, ours, peer, ratio: ours / peer, against });
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn say(text: &str) {
    eprintln!("bench: {text}");
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, peer, ratio) = ("ours", "peer", "ratio");
        writeln!(f, "{:<26} {:<16} {ours:>10} {peer:>10} {ratio:>6}  peer is", "case", "unit")?;
        for case in &self.cases {
            let Case { name, unit, ours, peer, ratio, against } = case;
            writeln!(f, "{name:<26} {unit:<16} {ours:>10.2} {peer:>10.2} {ratio:>6.2}  {against}")?;
        }
        Ok(())
    }
}
