//! Weighted round robin as a sequence.

/// Returns the cycle of turns as indices into `weights`: each as often as its weight says, its
/// turns spread evenly among the others'.
///
/// Turn `k` of a member of weight `w` is due at `(2k + 1) / 2w` of the whole, as in stride
/// scheduling (Waldspurger, Weihl: "Stride Scheduling", MIT/LCS/TM-528, 1995). Members of weight
/// 0 have no turn. Up to `longest` turns; where the weights ask for more, they are scaled down to
/// about that, and the lightest keep one.
#[must_use]
pub fn wrr_sequence(weights: &[u16], longest: u32) -> Vec<u32> {
    let shares = shares(weights, longest);
    let mut due: Vec<(u64, u32)> = Vec::with_capacity(shares.iter().sum::<u32>() as usize);
    for (member, &share) in (0..).zip(&shares) {
        // In units of 2^-40 of the cycle: far finer than the turns.
        due.extend((0..share).map(|turn| {
            let at = (u64::from(2 * turn + 1) << 40) / u64::from(2 * share);
            (at, member)
        }));
    }
    due.sort_unstable();
    due.into_iter().map(|(_, member)| member).collect()
}

/// Returns the number of turns of each.
fn shares(weights: &[u16], longest: u32) -> Vec<u32> {
    let whole = weights.iter().fold(0, |whole, &weight| gcd(whole, weight)).max(1);
    let shares = || weights.iter().map(move |&weight| u32::from(weight / whole));
    let sum: u64 = shares().map(u64::from).sum();
    if sum <= longest.into() {
        return shares().collect();
    }
    let scale = |share: u32| {
        let scaled = (u64::from(share) * u64::from(longest) + sum / 2) / sum;
        if share > 0 { (scaled as u32).max(1) } else { 0 }
    };
    shares().map(scale).collect()
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u32 = 1 << 16;

    fn count(turns: &[u32], member: u32) -> usize {
        turns.iter().filter(|&&turn| turn == member).count()
    }

    #[test]
    fn turns_are_spread_evenly() {
        assert_eq!(wrr_sequence(&[1, 1, 1], MANY), [0, 1, 2]);
        assert_eq!(wrr_sequence(&[5, 1], MANY), [0, 0, 0, 1, 0, 0]);
        assert_eq!(wrr_sequence(&[200, 0, 100], MANY), [0, 2, 0]);
        assert_eq!(wrr_sequence(&[7], MANY), [0]);
        assert!(wrr_sequence(&[], MANY).is_empty() && wrr_sequence(&[0], MANY).is_empty());
    }

    #[test]
    fn each_has_as_many_turns_as_its_weight() {
        let weights = [1, 2, 3, 997, 1000];
        let turns = wrr_sequence(&weights, MANY);
        for (member, &weight) in (0..).zip(&weights) {
            assert_eq!(count(&turns, member), usize::from(weight));
        }
    }

    #[test]
    fn many_heavy_members_fit_and_the_lightest_keeps_a_turn() {
        let mut weights = vec![1000; 1000];
        weights[7] = 1;
        weights[8] = 500;
        let turns = wrr_sequence(&weights, MANY);
        assert!(turns.len() <= 66_000, "{}", turns.len());
        assert_eq!(count(&turns, 7), 1);
        let (half, whole) = (count(&turns, 8), count(&turns, 9));
        assert!(half * 2 <= whole + 1 && whole <= half * 2 + 1, "{half} {whole}");
    }
}
