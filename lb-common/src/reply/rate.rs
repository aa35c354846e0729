//! How many answers of one kind a CPU gives.

/// ns between two answers of a CPU, and by how much a burst may be ahead: 10,000 a second, as
/// Linux allows itself (icmp_msgs_per_sec), and 1,000 at once. RFC 4443, 2.4 (f), wants a limit for
/// all alike. No answer is larger than what caused it, and most are far smaller.
const INTERVAL: u64 = 100_000;
const BURST: u64 = 1_000 * INTERVAL;

/// A token bucket in one word: when the next answer is due.
#[inline(always)]
pub(crate) fn is_due(next: &mut u64, now: u64) -> bool {
    let due = if *next > now { *next } else { now };
    if due - now > BURST {
        return false;
    }
    *next = due + INTERVAL;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_to_their_rate() {
        const SECOND: u64 = 1_000_000_000;
        let (mut next, now) = (0, 7 * SECOND);
        let given = |next: &mut u64, now| (0..20_000).filter(|_| is_due(next, now)).count();
        assert_eq!(given(&mut next, now), 1001, "a burst");
        assert_eq!(given(&mut next, now + SECOND / 100), 100, "a hundredth of a second later");
        assert_eq!(given(&mut next, now + 60 * SECOND), 1001, "long after");
    }
}
