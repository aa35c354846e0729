//! Maglev hashing: which backend owns which slot of a ring.
//!
//! After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
//! section 3.4: every member walks the slots in an order of its own (offset and skip from a hash of
//! its address and port) and takes the next free one when it is its turn. Weights decide how often
//! its turn comes.
//!
//! One thing differs. The ring is first dealt to all configured members, as if all were up; then
//! the slots of those that are not are dealt again among the rest. So a failure moves the failed
//! member's slots and no others, and a recovery restores the ring that was. (The paper deals to
//! live members only, which moves others' slots too: with a hundred members and a hundred slots
//! for each, more than the failed one's own.) The ring remains a function of configuration and
//! health alone: every node that sees the same has the same ring, whatever happened before.

use std::net::SocketAddr;

use lb_common::abi::Address;

use super::prime;

/// Mean slots for each member, at least. Then no share is off by more than one percent.
const SLOTS_PER_MEMBER: u32 = 128;
/// Unequal weights lengthen the ring so that the lightest member has its 128 slots too, but not
/// beyond this factor. With weights up to 1000 that still leaves it one slot or more.
const MAX_STRETCH: u32 = 8;

/// A server with its claim to a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub server: SocketAddr,
    /// 0: no slots.
    pub weight: u16,
    /// Down: its slots go to the others.
    pub up: bool,
}

/// The owner of each slot, as an index into `members`. Empty when no member can own any.
///
/// The servers must differ; their order does not matter.
#[must_use]
pub fn populate(members: &[Member]) -> Vec<usize> {
    let mut players = players(members);
    if !players.iter().any(|player| player.up) {
        return Vec::new();
    }
    let mut slots = vec![None; length(members) as usize];
    deal(&mut slots, &mut players);
    if players.iter().any(|player| !player.up) {
        vacate(&mut slots, members);
        players.retain(|player| player.up);
        players.iter_mut().for_each(Player::start_again);
        deal(&mut slots, &mut players);
    }
    slots.into_iter().flatten().collect()
}

/// The ring's length for these members, up or not: a prime that changes with their number's
/// doublings only, so that one server more or less seldom changes it.
pub(super) fn length(members: &[Member]) -> u32 {
    let weights = || members.iter().map(|member| u32::from(member.weight));
    let lightest = weights().filter(|&weight| weight > 0).min().unwrap_or(1);
    let count = members.len() as u32;
    let units = weights().sum::<u32>().div_ceil(lightest);
    let units = units.clamp(count, count * MAX_STRETCH);
    prime::at_least(units.next_power_of_two() * SLOTS_PER_MEMBER)
}

/// A member at the table.
struct Player {
    /// Index into the members.
    member: usize,
    weight: u32,
    up: bool,
    /// Where its walk over the slots starts, how far it strides, and where it is: a permutation,
    /// since the ring's length is prime.
    offset: u64,
    skip: u64,
    at: u64,
    /// Grows by `weight` a round; its turn comes at the largest weight.
    credit: u32,
}

impl Player {
    fn start_again(&mut self) {
        self.at = self.offset;
        self.credit = 0;
    }
}

/// Those with a weight, in the order of their addresses: the order decides ties.
fn players(members: &[Member]) -> Vec<Player> {
    let length = u64::from(length(members));
    let mut order: Vec<usize> =
        (0..members.len()).filter(|&index| members[index].weight > 0).collect();
    order.sort_by_key(|&index| members[index].server);
    let player = |member: usize| {
        let Member { server, weight, up } = members[member];
        let offset = hash(server, 1) % length;
        Player {
            member,
            weight: weight.into(),
            up,
            offset,
            skip: hash(server, 2) % (length - 1) + 1,
            at: offset,
            credit: 0,
        }
    };
    order.into_iter().map(player).collect()
}

/// Deals the free slots to the players, round after round.
fn deal(slots: &mut [Option<usize>], players: &mut [Player]) {
    let length = slots.len() as u64;
    let mut free = slots.iter().filter(|slot| slot.is_none()).count();
    let turn = players.iter().map(|player| player.weight).max();
    let turn = turn.expect("somebody plays");
    while free > 0 {
        for player in players.iter_mut() {
            player.credit += player.weight;
            if player.credit < turn || free == 0 {
                continue;
            }
            player.credit -= turn;
            while slots[player.at as usize].is_some() {
                player.at = (player.at + player.skip) % length;
            }
            slots[player.at as usize] = Some(player.member);
            free -= 1;
        }
    }
}

/// Frees the slots of members that are down.
fn vacate(slots: &mut [Option<usize>], members: &[Member]) {
    for slot in slots {
        *slot = slot.filter(|&member| members[member].up);
    }
}

/// Of the server's address and port alone, and fixed for ever: nodes and versions must agree.
fn hash(server: SocketAddr, seed: u64) -> u64 {
    let address = u128::from_be_bytes(Address::of(server.ip()).bytes());
    [(address >> 64) as u64, address as u64, server.port().into()]
        .into_iter()
        .fold(mix(seed), |hash, word| mix(hash ^ word))
}

/// The step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
