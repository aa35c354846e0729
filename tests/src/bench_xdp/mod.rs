//! ns per packet of the loaded program, interleaved with two floors, by `BPF_PROG_TEST_RUN`.

mod cases;
mod object;
mod others;

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
    let cases = cases().into_iter().filter(|case| case.name.contains(only));
    let figures = cases.map(|case| measure(&mut object, &case, rounds, packets));
    Ok(Report { cases: figures.collect::<Result<_>>()? })
}

/// The programs in turn, round after round: what slows the machine down slows all of them.
fn measure(object: &mut Object, case: &Case, rounds: u32, packets: u32) -> Result<Figures> {
    eprintln!("{}", case.name);
    object.know(case)?;
    let mut samples = <[Vec<f64>; 3]>::default();
    for round in 0..rounds {
        // Each round goes on with the flows after those of the one before.
        let first = round.wrapping_mul(packets);
        for (program, samples) in Program::ALL.into_iter().zip(&mut samples) {
            samples.push(object.measure(case, program, packets, first)?);
        }
    }
    let [ns, floor_ns, tx_ns] = samples.map(median);
    Ok(Figures { name: case.name.clone(), ns, floor_ns, ratio: ns / floor_ns, tx_ns })
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
        writeln!(f, "\nfloor: parse and one lookup in a BPF hash map of the same flows")
    }
}
