//! Allocates room in `RINGS`.

use std::collections::BTreeMap;

/// The gaps between rings. Adjacent gaps are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RingSpace {
    /// Gap lengths by offset.
    gaps: BTreeMap<u32, u32>,
}

impl RingSpace {
    pub(crate) fn new(room: u32) -> Self {
        Self { gaps: BTreeMap::from([(0, room)]) }
    }

    /// Returns the first gap that fits; `None` if there is none.
    pub(crate) fn find(&self, length: u32) -> Option<u32> {
        self.gaps.iter().find(|&(_, &gap)| gap >= length).map(|(&offset, _)| offset)
    }

    /// Allocates a part of a gap.
    pub(crate) fn take(&mut self, offset: u32, length: u32) {
        let gap = self.gaps.range(..=offset).next_back().map(|(&start, &gap)| (start, gap));
        let (start, gap) =
            gap.filter(|&(start, gap)| offset + length <= start + gap).expect("free");
        self.gaps.remove(&start);
        self.insert(start, offset - start);
        self.insert(offset + length, start + gap - offset - length);
    }

    pub(crate) fn free(&mut self, offset: u32, length: u32) {
        let (mut offset, mut length) = (offset, length);
        let before = self.gaps.range(..offset).next_back().map(|(&start, &gap)| (start, gap));
        if let Some((start, gap)) = before.filter(|&(start, gap)| start + gap == offset) {
            self.gaps.remove(&start);
            (offset, length) = (start, length + gap);
        }
        if let Some(gap) = self.gaps.remove(&(offset + length)) {
            length += gap;
        }
        self.insert(offset, length);
    }

    /// Returns which of `rings`, each with its name, offset and length, should move, and where to,
    /// so that a gap of `wanted` appears, or larger gaps and smaller ones. `None` if no move helps.
    ///
    /// Moves terminate: each increases the sum of the gaps' squares.
    pub(crate) fn relocate(
        &self,
        rings: impl Iterator<Item = (u32, u32, u32)>,
        wanted: u32,
    ) -> Option<(u32, u32)> {
        let square = |length: u32| u64::from(length) * u64::from(length);
        let moves = rings.filter_map(|(name, offset, length)| {
            let before = self.gaps.range(..offset).next_back();
            let before = before.filter(|&(start, gap)| start + gap == offset).map(|it| *it.0);
            let after = Some(offset + length).filter(|start| self.gaps.contains_key(start));
            let beside = |start: u32| before == Some(start) || after == Some(start);
            // The tightest fit.
            let elsewhere =
                self.gaps.iter().filter(|&(&start, &gap)| gap >= length && !beside(start));
            let (&to, &gap) = elsewhere.min_by_key(|&(_, &gap)| gap)?;
            let [left, right] = [before, after].map(|start| start.map_or(0, |it| self.gaps[&it]));
            let merged = left + length + right;
            let now = square(left) + square(right) + square(gap);
            let then = square(merged) + square(gap - length);
            (then > now).then(|| (merged >= wanted, then - now, name, to))
        });
        moves.max().map(|(_, _, name, to)| (name, to))
    }

    fn insert(&mut self, offset: u32, length: u32) {
        if length > 0 {
            self.gaps.insert(offset, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_that_meet_are_one() {
        let mut space = RingSpace::new(10);
        space.take(0, 3);
        space.take(3, 3);
        space.take(6, 4);
        assert_eq!(space.find(1), None);
        space.free(0, 3);
        space.free(6, 4);
        assert_eq!((space.find(3), space.find(4), space.find(5)), (Some(0), Some(6), None));
        space.free(3, 3);
        assert_eq!(space, RingSpace::new(10));
    }

    #[test]
    fn a_ring_between_gaps_makes_them_one() {
        let mut space = RingSpace::new(100);
        space.take(0, 20);
        space.take(30, 5);
        space.take(45, 50);
        let rings = [(0, 0, 20), (1, 30, 5), (2, 45, 50)];
        assert_eq!(space.find(25), None);
        assert_eq!(space.relocate(rings.into_iter(), 25), Some((1, 95)));
        space.take(95, 5);
        space.free(30, 5);
        assert_eq!(space.find(25), Some(20));
        let rings = [(0, 0, 20), (1, 95, 5), (2, 45, 50)];
        assert_eq!(space.relocate(rings.into_iter(), 26), None, "there is one gap only");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_nobody_elses(
            lengths in prop::collection::vec((1u32..9, any::<bool>()), 0..60),
        ) {
            let mut space = RingSpace::new(64);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (length, gives_back) in lengths {
                if gives_back && !taken.is_empty() {
                    let (offset, length) = taken.swap_remove(length as usize % taken.len());
                    space.free(offset, length);
                } else if let Some(offset) = space.find(length) {
                    let apart = |&(o, l): &(u32, u32)| offset + length <= o || o + l <= offset;
                    prop_assert!(offset + length <= 64 && taken.iter().all(apart));
                    space.take(offset, length);
                    taken.push((offset, length));
                }
            }
            let free: u32 = space.gaps.values().sum();
            prop_assert_eq!(free + taken.iter().map(|ring| ring.1).sum::<u32>(), 64);
        }
    }
}
