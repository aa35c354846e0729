//! Assigns the slots of a ring to backends so that it hardly changes when backends come and go.
//!
//! The goal is Maglev's (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016): equal shares by weight, and few moves when members change. The method
//! differs, because dealing slots in turn, as the paper does, moves two or three times the share of
//! a leaving member when there are many (figure 12 there). Here every slot ranks the members by
//! weighted rendezvous hashing, which alone would move exactly that share. Members take no more
//! slots than their share ("bounded loads": Mirrokni, Thorup, Zadimoghaddam, SODA 2018): if more
//! want in, those whose hash is worst go to the next in their ranking (deferred acceptance: Gale,
//! Shapley, 1962).
//!
//! The ring is first dealt to all configured members, as if all were up; then the slots of those
//! that are down are dealt again among the rest. So a failure moves the failed member's slots only,
//! and a recovery restores the previous ring. The ring is a function of configuration and health
//! alone: every node that sees the same has the same ring, whatever happened before.

mod deal;
mod ranking;

use std::net::SocketAddr;

use deal::SlotTable;
use ranking::Ranking;

/// The slots of a ring, unless the configuration sets them.
pub const USUAL: u32 = 32_768;
/// The slots of a ring with few members of similar weights.
const SMALL: u32 = 8192;
/// The most members of a small ring: with so many, exact shares move little when one of them leaves
/// (see [`deal`]).
const FEW: u32 = 16;
/// The least slots of a small ring's lightest member: its share is right within a percent.
const LIGHTEST: u32 = 64;
/// The least mean number of slots per member.
pub const SLOTS_PER_MEMBER: u32 = 128;

/// A server with its weight in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingMember {
    pub server: SocketAddr,
    /// Relative share of slots; 0 for none.
    pub weight: u16,
    /// If it is down, its slots go to the others.
    pub up: bool,
}

/// Returns the owner of each slot, as an index into `members`; empty if no member can own any.
///
/// The ring has `size` slots, or as many as suit the members: one slot for a single member, and
/// more for very many, see `length`. The servers must differ; their order does not matter.
#[must_use]
pub fn populate(members: &[RingMember], size: Option<u32>) -> Vec<usize> {
    let players: Vec<usize> = players(members);
    let up: Vec<usize> = (0..players.len()).filter(|&at| members[players[at]].up).collect();
    if up.is_empty() {
        return Vec::new();
    }
    let weights: Vec<u32> = players.iter().map(|&player| members[player].weight.into()).collect();
    let servers = players.iter().map(|&player| members[player].server);
    let mut table = SlotTable::new(length(members, size), Ranking::new(servers, &weights));
    let all: Vec<usize> = (0..players.len()).collect();
    table.deal(&all, &weights);
    if up.len() < players.len() {
        table.vacate(|at| !members[players[at]].up);
        table.deal(&up, &weights);
    }
    table.owners().map(|at| players[at]).collect()
}

/// Returns the ring's length for these members, up or not.
///
/// `size` if given, whatever the members are: a change of members then never moves every slot.
/// `None`: 8,192 slots for up to 16 members of which the lightest has a 128th of all weight, 32,768
/// for all others. If members would have fewer than 128 slots each on average, the length is
/// doubled until they have. A change of length moves everything.
#[must_use]
pub(crate) fn length(members: &[RingMember], size: Option<u32>) -> u32 {
    let count = members.iter().filter(|member| member.weight > 0).count() as u32;
    if count <= 1 {
        return count;
    }
    let size = size.unwrap_or_else(|| if are_few(members, count) { SMALL } else { USUAL });
    let mut length = size;
    while length < count.saturating_mul(SLOTS_PER_MEMBER) && length < size << 12 {
        length *= 2;
    }
    length
}

/// Returns whether a small ring is as good as a large one.
fn are_few(members: &[RingMember], count: u32) -> bool {
    let weights = members.iter().map(|member| u32::from(member.weight)).filter(|&it| it > 0);
    let lightest = weights.clone().min().unwrap_or(0);
    count <= FEW && weights.sum::<u32>() <= lightest.saturating_mul(SMALL / LIGHTEST)
}

/// Returns the members with a weight, ordered by address: the order decides ties.
fn players(members: &[RingMember]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..members.len()).filter(|&index| members[index].weight > 0).collect();
    order.sort_by_key(|&index| members[index].server);
    order
}

#[cfg(test)]
mod tests;
