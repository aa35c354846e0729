//! Primes, for ring lengths.

/// The smallest prime that is not below `n`. Trial division: ring lengths are small.
pub(super) fn at_least(n: u32) -> u32 {
    (n.max(2)..)
        .find(|&candidate| is_prime(candidate))
        .expect("a prime lies between n and 2n, and ring lengths are far below u32::MAX")
}

fn is_prime(n: u32) -> bool {
    n >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= n)
            .all(|divisor| !n.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_prime() {
        for (n, prime) in [(0, 2), (2, 2), (4, 5), (100, 101), (101, 101), (65_536, 65_537)] {
            assert_eq!(at_least(n), prime, "from {n}");
        }
    }

    #[test]
    fn agrees_with_a_sieve() {
        let mut composite = vec![false; 1000];
        for n in 2..composite.len() {
            assert_eq!(is_prime(n as u32), !composite[n], "{n}");
            for multiple in (2 * n..composite.len()).step_by(n) {
                composite[multiple] = true;
            }
        }
    }
}
