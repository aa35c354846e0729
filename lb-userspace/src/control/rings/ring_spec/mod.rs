//! The specification of a ring, and the ring built from it.

use std::hash::{DefaultHasher, Hash, Hasher};

use lb_common::abi::Ring;

use super::maglev::{self, RingMember};
use crate::service::{Strategy, wrr_sequence};

/// Mean slots per member in the rings of strategies other than maglev, at most: enough for shares
/// to be right within half a percent of the mean share.
const SLOTS_PER_MEMBER: u32 = 200;

/// The specification of a ring. Building the ring from it is the expensive part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RingSpec {
    pub(crate) strategy: Strategy,
    /// The slots of a maglev ring. `None`: as many as suit the members.
    pub(crate) size: Option<u32>,
    pub(crate) members: Vec<RingMember>,
    /// The ids of `members`, in their order.
    pub(crate) ids: Vec<u32>,
    /// Where flows go when all members are full, the nearest first; at most [`FARTHER`].
    pub(crate) farther: Vec<FartherRegion>,
}

/// Regions that a service may have behind its nearest. Those still farther away count as the last.
pub(crate) const FARTHER: usize = Ring::REGIONS as usize - 1;

/// The members of a farther region that may take new flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FartherRegion {
    /// Weights; none is 0.
    pub(crate) weights: Vec<u16>,
    /// Ids in the order of `weights`.
    pub(crate) ids: Vec<u32>,
}

impl RingSpec {
    /// A fingerprint that differs where the ring does, except for collisions of a 64-bit hash.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Returns the members that may take new flows.
    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        let indices = 0..self.members.len();
        indices.filter(|&index| self.members[index].up && self.members[index].weight > 0)
    }

    /// Returns whether nobody can take a new flow.
    pub(crate) fn is_empty(&self) -> bool {
        self.open().next().is_none()
    }

    /// Builds the ring as a [`Ring`] has it: the slots, the number of members that take new flows,
    /// and their ids, then the same for the farther regions. Also returns how many of the words are
    /// slots of the first.
    pub(crate) fn build(&self) -> (Vec<u32>, u32) {
        let mut words: Vec<u32> = self.slots().iter().map(|&owner| self.ids[owner]).collect();
        let slots = words.len() as u32;
        words.push(self.open().count() as u32);
        words.extend(self.open().map(|index| self.ids[index]));
        for region in &self.farther {
            let turns = wrr_sequence(&region.weights, region.longest());
            words.push(turns.len() as u32);
            words.extend(turns.iter().map(|&turn| region.ids[turn as usize]));
            words.push(region.ids.len() as u32);
            words.extend(&region.ids);
        }
        words.push(0);
        (words, slots)
    }

    /// Returns the most words that the ring can take, whoever is up, with members in other regions
    /// if `spread`.
    pub(crate) fn room(&self, spread: bool) -> u32 {
        let count = self.members.len() as u32;
        let weights = self.members.iter().map(|member| u64::from(member.weight));
        let most = count * (SLOTS_PER_MEMBER + 1);
        let turns = weights.sum::<u64>().min(most.into()) as u32;
        let slots = match self.strategy {
            Strategy::Maglev => maglev::length(&self.members, self.size),
            Strategy::LeastConn => count,
            Strategy::P2c | Strategy::PeakEwma | Strategy::Wrr | Strategy::Random => turns,
        };
        let behind = if spread { turns + count + 2 * FARTHER as u32 } else { 0 };
        slots + 1 + count + behind + 1
    }

    fn slots(&self) -> Vec<usize> {
        match self.strategy {
            Strategy::Maglev => maglev::populate(&self.members, self.size),
            // The kernel uses the list of members.
            Strategy::LeastConn => self.open().collect(),
            Strategy::P2c | Strategy::PeakEwma | Strategy::Wrr | Strategy::Random => {
                let open: Vec<usize> = self.open().collect();
                let weights: Vec<u16> = open.iter().map(|&it| self.members[it].weight).collect();
                let longest = open.len() as u32 * SLOTS_PER_MEMBER;
                wrr_sequence(&weights, longest).iter().map(|&turn| open[turn as usize]).collect()
            }
        }
    }
}

impl FartherRegion {
    /// Returns the most slots that its ring can have.
    fn longest(&self) -> u32 {
        self.ids.len() as u32 * SLOTS_PER_MEMBER
    }
}

#[cfg(test)]
mod tests;
