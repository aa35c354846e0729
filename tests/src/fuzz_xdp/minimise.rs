//! Cuts a failing sequence down: steps go, in ever smaller runs, as long as it still fails.

use anyhow::Result;

use super::{
    compare::{Difference, Sequence, Tally},
    kernel::Kernel,
    scene::Scene,
    step::Step,
};

/// Repeats are cheap, but not free.
const REPEATS: usize = 2000;

pub(super) fn minimise(
    kernel: &mut Kernel,
    scene: &Scene,
    seed: u64,
    mut steps: Vec<Step>,
    mut difference: Difference,
) -> Result<(Vec<Step>, Difference)> {
    let (mut run, mut repeats) = (steps.len().div_ceil(2), 0);
    while run > 0 && repeats < REPEATS {
        let (mut start, mut shorter) = (0, false);
        while start < steps.len() && repeats < REPEATS {
            let end = (start + run).min(steps.len());
            let rest = [&steps[..start], &steps[end..]].concat();
            repeats += 1;
            match replay(kernel, scene, seed, &rest)? {
                Some((failed, taken)) => {
                    (difference, shorter) = (failed, true);
                    steps = rest;
                    steps.truncate(taken);
                }
                None => start = end,
            }
        }
        run = if shorter && run == 1 { 1 } else { run / 2 };
    }
    Ok((steps, difference))
}

/// How, and after how many steps, the two differ.
fn replay(
    kernel: &mut Kernel,
    scene: &Scene,
    seed: u64,
    steps: &[Step],
) -> Result<Option<(Difference, usize)>> {
    let mut sequence = Sequence::begin(kernel, scene, seed)?;
    for (taken, step) in (1..).zip(steps) {
        if let Some(difference) = sequence.take(kernel, step, &mut Tally::default())? {
            return Ok(Some((difference, taken)));
        }
    }
    Ok(sequence.end(kernel, &mut Tally::default())?.map(|difference| (difference, steps.len())))
}
