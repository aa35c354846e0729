//! What is measured, and how it is shown.

use std::fmt;

use serde::Serialize;

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

impl Report {
    pub fn add(
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

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(super) fn say(text: &str) {
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
