//! Converts port ranges to the prefixes that the kernel looks up.

use std::ops::RangeInclusive;

/// Returns the fewest prefixes that cover exactly `ports`, at most 30: the first port and the
/// number of significant bits of each.
pub fn prefixes(ports: RangeInclusive<u16>) -> impl Iterator<Item = (u16, u32)> {
    let (mut next, end) = (u32::from(*ports.start()), u32::from(*ports.end()) + 1);
    std::iter::from_fn(move || {
        let left = end.checked_sub(next).filter(|&left| left > 0)?;
        // The largest block that begins here and does not exceed the range.
        let free = next.trailing_zeros().min(left.ilog2()).min(u16::BITS);
        let first = next as u16;
        next += 1 << free;
        Some((first, u16::BITS - free))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered((first, bits): (u16, u32)) -> RangeInclusive<u16> {
        let others = u16::MAX.checked_shr(bits).unwrap_or(0);
        assert_eq!(first & others, 0, "a prefix has nothing behind its bits");
        first..=first | others
    }

    #[test]
    fn the_ends_of_what_there_is() {
        let all = |ports| prefixes(ports).collect::<Vec<_>>();
        assert_eq!(all(0..=u16::MAX), [(0, 0)]);
        assert_eq!(all(u16::MAX..=u16::MAX), [(u16::MAX, 16)]);
        assert_eq!(all(8000..=8003), [(8000, 14)]);
        assert_eq!(all(1..=u16::MAX - 1).len(), 30);
        #[expect(clippy::reversed_empty_ranges)]
        let none = all(2..=1);
        assert!(none.is_empty());
    }

    proptest! {
        #[test]
        fn prefixes_cover_a_range_exactly_and_are_few(first: u16, last: u16) {
            prop_assume!(first <= last);
            let found: Vec<_> = prefixes(first..=last).collect();
            prop_assert!(found.len() <= 30);
            let mut next = u32::from(first);
            for ports in found.into_iter().map(covered) {
                prop_assert_eq!(u32::from(*ports.start()), next);
                next = u32::from(*ports.end()) + 1;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
        }
    }
}
