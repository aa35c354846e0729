//! Deals slots to members: each slot goes to the best member in its ranking that has room, or that
//! gives up a worse slot.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::ranking::{Ranking, Score};

const FREE: u32 = u32::MAX;

pub(crate) struct SlotTable {
    ranking: Ranking,
    /// The index of a member, or [`FREE`].
    owners: Vec<u32>,
}

impl SlotTable {
    pub(crate) fn new(length: u32, ranking: Ranking) -> Self {
        Self { ranking, owners: vec![FREE; length as usize] }
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = usize> + '_ {
        self.owners.iter().map(|&owner| owner as usize)
    }

    /// Frees the slots of members that `leave`.
    pub(crate) fn vacate(&mut self, leave: impl Fn(usize) -> bool) {
        for owner in &mut self.owners {
            if leave(*owner as usize) {
                *owner = FREE;
            }
        }
    }

    /// Deals the free slots to `players`, up to each one's share of the whole ring by weight. They
    /// keep what they have.
    pub(crate) fn deal(&mut self, players: &[usize], weights: &[u32]) {
        let mut rooms = self.rooms(players, weights);
        let mut taken: Vec<BinaryHeap<(Score, u32)>> = vec![BinaryHeap::new(); weights.len()];
        for slot in 0..self.owners.len() as u32 {
            if self.owners[slot as usize] == FREE {
                self.place(slot, players, &mut rooms, &mut taken);
            }
        }
        for &player in players {
            for &(_, slot) in &taken[player] {
                self.owners[slot as usize] = player as u32;
            }
        }
    }

    /// Finds a player for the slot, and for slots that are displaced by it.
    fn place(
        &self,
        slot: u32,
        players: &[usize],
        rooms: &mut [usize],
        taken: &mut [BinaryHeap<(Score, u32)>],
    ) {
        let (mut slot, mut refused) = (slot, None);
        while let Some((score, player)) = self.next(slot, players, refused) {
            if rooms[player] > 0 {
                rooms[player] -= 1;
                taken[player].push((score, slot));
                return;
            }
            let worst = taken[player].peek_mut().filter(|worst| **worst > (score, slot));
            let Some(mut worst) = worst else {
                refused = Some((score, player));
                continue;
            };
            let (its_score, its_slot) = std::mem::replace(&mut *worst, (score, slot));
            (slot, refused) = (its_slot, Some((its_score, player)));
        }
        // Players from before may have more than their share now.
        if let Some((score, player)) = self.next(slot, players, None) {
            taken[player].push((score, slot));
        }
    }

    /// Returns the best player for `slot` after the one that refused it.
    fn next(
        &self,
        slot: u32,
        players: &[usize],
        refused: Option<(Score, usize)>,
    ) -> Option<(Score, usize)> {
        let ranked = players.iter().map(|&player| (self.ranking.score(slot, player), player));
        ranked.filter(|&rank| refused.is_none_or(|refused| rank > refused)).min()
    }

    /// Returns how many more slots each player may take: its share of the ring plus some [`slack`],
    /// less what it has.
    fn rooms(&self, players: &[usize], weights: &[u32]) -> Vec<usize> {
        let mut rooms = shares(self.owners.len(), players, weights);
        let slack = slack(players.len(), self.owners.len());
        for &player in players {
            rooms[player] += (rooms[player] as f64 * slack) as usize;
        }
        for owner in self.owners().filter(|&owner| owner != FREE as usize) {
            rooms[owner] = rooms[owner].saturating_sub(1);
        }
        rooms
    }
}

/// Divides `length` in proportion to the weights, exactly; remainders go by the size of the
/// fraction, and each gets at least one.
fn shares(length: usize, players: &[usize], weights: &[u32]) -> Vec<usize> {
    let sum: u64 = players.iter().map(|&player| u64::from(weights[player])).sum();
    let exact = |player: usize| length as u64 * u64::from(weights[player]);
    let mut shares = vec![0; weights.len()];
    for &player in players {
        shares[player] = ((exact(player) / sum) as usize).max(1);
    }
    let given: usize = shares.iter().sum();
    let mut order = players.to_vec();
    if given <= length {
        order.sort_by_key(|&player| (Reverse(exact(player) % sum), player));
        order.iter().cycle().take(length - given).for_each(|&player| shares[player] += 1);
    } else {
        order.sort_by_key(|&player| (Reverse(shares[player]), player));
        for &player in order.iter().cycle().take(given - length) {
            shares[player] = shares[player].saturating_sub(1);
        }
    }
    shares
}

/// Returns by how much a member may exceed its share. With few members for the ring's length, not
/// at all. With many, exact shares would make a leaving member move more than 1.2 times its slots:
/// levelling out chance among the others costs `members / sqrt(slots)` of that, and more where one
/// displaces the next. The line is measured; see the tests.
fn slack(members: usize, slots: usize) -> f64 {
    let crowd = members as f64 / (slots as f64).sqrt();
    (0.15 * (crowd - 0.17)).clamp(0.0, 0.25)
}
