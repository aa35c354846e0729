//! `balance` over a model, and the loaded program over maps with the same content: whatever frames
//! come, in whatever order, both must decide alike and leave the same behind.
//!
//! A seed decides everything: the tables, the frames, what time passes, and what random numbers the
//! program draws, for its object has a clock and random numbers that are set from here. A sequence
//! that fails is cut down to the steps without which it would not.

mod compare;
mod grammar;
mod kernel;
mod minimise;
mod mutate;
mod scene;
mod step;
mod world;

use std::fmt;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use self::{
    compare::{Difference, Sequence},
    kernel::Kernel,
    scene::Scene,
    step::Step,
};
use crate::dice::Dice;

/// Steps of most sequences, and of some that fill the tables.
const LENGTH: usize = 96;
const LONG: usize = 800;

/// What was tried.
#[derive(Debug, Default)]
pub struct Report {
    pub frames: u64,
    pub sequences: u64,
    /// How often each verdict, or reason, was given.
    pub verdicts: Vec<(String, u64)>,
    pub failures: Vec<Failure>,
}

/// A sequence for which the two differ.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    steps: Vec<Step>,
    difference: Difference,
}

/// Tries so many frames, or more, in sequences whose seeds count up from `seed`. Ends early after
/// so many failures.
///
/// # Errors
///
/// No root, no BPF toolchain, or the kernel refuses.
pub fn run(frames: u64, seed: u64, failures: usize) -> Result<Report> {
    let scene = Scene::create();
    scene.netns.within(|| {
        stay_on_this_cpu()?;
        let mut kernel = Kernel::load(&scene)?;
        let mut report = Report::default();
        let mut tally = compare::Tally::default();
        while report.frames < frames && report.failures.len() < failures {
            let seed = seed.wrapping_add(report.sequences);
            report.sequences += 1;
            if let Some(failure) = try_one(&mut kernel, &scene, seed, &mut report, &mut tally)? {
                report.failures.push(failure);
            }
        }
        report.verdicts = tally.named();
        Ok(report)
    })?
}

/// Counters, cursors and the scratch are each CPU's own.
fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(nix::sched::sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one CPU")
}

fn try_one(
    kernel: &mut Kernel,
    scene: &Scene,
    seed: u64,
    report: &mut Report,
    tally: &mut compare::Tally,
) -> Result<Option<Failure>> {
    let mut sequence = Sequence::begin(kernel, scene, seed)?;
    let mut grammar = grammar::Grammar::default();
    let mut dice = Dice::new(!seed);
    let mut steps = Vec::new();
    let mut difference = None;
    let length = if dice.one_in(20) { LONG } else { LENGTH };
    while steps.len() < length && difference.is_none() {
        let step = Step::roll(&mut dice, &sequence.model, &mut grammar);
        report.frames += u64::from(matches!(step, Step::Frame { .. }));
        steps.push(step);
        difference = sequence.take(kernel, &steps[steps.len() - 1], tally)?;
    }
    if difference.is_none() {
        difference = sequence.end(kernel, tally)?;
    }
    let Some(difference) = difference else { return Ok(None) };
    let (steps, difference) = minimise::minimise(kernel, scene, seed, steps, difference)?;
    Ok(Some(Failure { seed, steps, difference }))
}

impl Report {
    /// How often a verdict was given, or a reason.
    #[must_use]
    pub fn times(&self, verdict: &str) -> u64 {
        self.verdicts.iter().find(|(name, _)| name == verdict).map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}:", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        write!(f, "{}", self.difference)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} frames in {} sequences\n", self.frames, self.sequences)?;
        for (name, count) in &self.verdicts {
            writeln!(f, "{name:36} {count:>10}")?;
        }
        self.failures.iter().try_for_each(|failure| write!(f, "\n{failure}"))
    }
}
