//! ns per packet of the loaded program, interleaved with two floors, by `BPF_PROG_TEST_RUN`.

mod cases;
mod object;

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use self::{
    cases::{Case, cases},
    object::{Object, Program},
};

/// Medians of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub name: String,
    pub ns: f64,
    /// Parse and one hash lookup, on the same frame.
    pub floor_ns: f64,
    /// `ns / floor_ns`.
    pub ratio: f64,
    /// Return `XDP_TX`, on the same frame.
    pub tx_ns: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub cases: Vec<Figures>,
}

/// Measures every case whose name contains `only`, `rounds` times with `packets` packets each.
///
/// # Errors
///
/// No root, no BPF toolchain, or a program that does not do what its case says.
pub fn run(rounds: u32, packets: u32, only: &str) -> Result<Report> {
    let mut object = Object::load()?;
    let mut samples: Vec<(Case, [Vec<f64>; 3])> = cases()
        .into_iter()
        .filter(|case| case.name.contains(only))
        .map(|case| (case, <[Vec<f64>; 3]>::default()))
        .collect();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (case, [ours, lookup, tx]) in &mut samples {
            ours.push(object.measure(case, Program::Balance, packets)?);
            lookup.push(object.measure(case, Program::FloorLookup, packets)?);
            tx.push(object.measure(case, Program::FloorTx, packets)?);
        }
    }
    let figures = |(case, [ours, lookup, tx]): (Case, [Vec<f64>; 3])| {
        let [ns, floor_ns, tx_ns] = [ours, lookup, tx].map(median);
        Figures { name: case.name, ns, floor_ns, ratio: ns / floor_ns, tx_ns }
    };
    Ok(Report { cases: samples.into_iter().map(figures).collect() })
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ns per packet, one core, medians\n")?;
        writeln!(f, "{:32} {:>8} {:>8} {:>7} {:>8}", "case", "lb", "floor", "ratio", "XDP_TX")?;
        for Figures { name, ns, floor_ns, ratio, tx_ns } in &self.cases {
            writeln!(f, "{name:32} {ns:8.1} {floor_ns:8.1} {ratio:7.2} {tx_ns:8.1}")?;
        }
        writeln!(f, "\nfloor: parse and one hash lookup, on the same frame")
    }
}
