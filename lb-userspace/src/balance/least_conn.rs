//! Least connections: the backend with the least load for its weight.

/// Picks the eligible backend with the least load per weight. Ties are broken at random by weight,
/// so that idle backends are used in proportion, and workers that see the same counts do not all
/// choose the same.
pub(super) fn pick(
    weights: impl Fn(usize) -> u16,
    candidates: impl Iterator<Item = usize>,
    load: impl Fn(usize) -> u64,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    let mut tied = 0;
    for index in candidates {
        let (weight, load) = (weights(index), load(index));
        let order = best.map(|(best, least)| {
            // load / weight, compared without the division.
            let cost = |load: u64, weight: u16| u128::from(load) * u128::from(weight);
            cost(load, weights(best)).cmp(&cost(least, weight))
        });
        match order {
            Some(std::cmp::Ordering::Greater) => {}
            Some(std::cmp::Ordering::Equal) => {
                // Reservoir sampling: one of all tied so far, by weight.
                tied += u64::from(weight);
                if rng.u64(..tied) < weight.into() {
                    best = Some((index, load));
                }
            }
            None | Some(std::cmp::Ordering::Less) => {
                tied = weight.into();
                best = Some((index, load));
            }
        }
    }
    best.map(|(index, _)| index)
}
