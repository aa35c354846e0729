//! Each contender's turn, round by round.

use anyhow::{Context as _, Result};

use super::{
    contender::{Contender, Contenders},
    extent::Extent,
    report::{Figures, Report},
};
use crate::{lab::interrupt::Interrupt, measure::cpu};

/// What was done in one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Requests, connections or MiB.
    pub done: f64,
    pub seconds: f64,
}

pub(super) struct Turns<'a> {
    pub contenders: &'a Contenders,
    pub extent: Extent,
    pub interrupt: &'a Interrupt,
}

impl Turns<'_> {
    /// Measures what `work` costs each contender, in CPU time for one of what it counts.
    pub(super) fn take(
        &self,
        name: &'static str,
        per: &'static str,
        report: &mut Report,
        work: impl Fn(&Contender) -> Result<Work>,
    ) -> Result<()> {
        eprintln!("bench: {name}");
        let all = self.contenders.all();
        let mut figures: Vec<_> = all.iter().map(|it| Figures::new(it.name)).collect();
        for round in 0..=self.extent.rounds {
            for (contender, figures) in all.iter().zip(&mut figures) {
                self.interrupt.check()?;
                let before = cpu::seconds(&contender.ids)?;
                let work =
                    work(contender).with_context(|| format!("{name} by {}", contender.name))?;
                let spent = cpu::seconds(&contender.ids)? - before;
                // In the first round pools fill and pages are touched.
                if round > 0 {
                    figures.add(spent * 1e6 / work.done, work.done / work.seconds);
                }
            }
        }
        report.add(name, per, figures);
        Ok(())
    }
}
