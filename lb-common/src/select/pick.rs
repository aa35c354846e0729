//! Which backend gets a new flow: it is counted there at once, so that no limit is ever passed.

use super::affinity;
use crate::{
    abi::{Ring, service_flags, status, strategy},
    context::{
        parsed::{Forwarding, Limit, NOBODY, Scratch, wish},
        tables::{Step, Tables},
        verdict::{NextStep, Reason},
    },
    wire::parse::slot,
};

/// Members that are compared at once: all of nearly every service; of a larger one so many from a
/// random one on.
const COMPARED: u32 = 64;
/// Slots behind the chosen one that are tried first when its backend has no room: a flow that
/// maglev sends elsewhere then goes to the same place on every node.
const NEAR: u64 = 4;
/// Times that a ring's members are then compared, in a large service others each time. In a small
/// one so often may another CPU be faster to take the room that was found.
const TRIES: u32 = 3;
/// Times that members are compared in all the rings of a service.
const ROUNDS: u32 = 6;

/// Where the class begins in a burden.
const CLASS: u32 = 60;
/// The burden of a backend at its hard limit, or above.
const FULL: u64 = 2 << CLASS;
/// The burden of one that is down, or that there is not.
const GONE: u64 = 3 << CLASS;

/// Chooses the backend of a new flow by its service's strategy, unless one is on the scratch that
/// the packet itself names, and counts the flow in there. [`NextStep::Refuse`]: nobody takes it.
#[inline(always)]
pub(crate) fn pick<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    choose(tables, scratch)?;
    if scratch.onward.way == NextStep::Open && !take(tables, &mut scratch.onward) {
        search(tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Open && scratch.onward.wishes(wish::AFFINITY) {
        affinity::keep(tables, scratch);
    }
    Ok(())
}

/// Takes back what [`pick`] counted: the flow could not be opened.
#[inline(always)]
pub(crate) fn uncount<T: Tables>(tables: &T, scratch: &Scratch) {
    tables.count_out(scratch.onward.load);
}

/// Puts the backend that the source keeps, or else the strategy's choice, on the scratch.
#[inline(never)]
fn choose<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let service = tables.service(scratch.onward.service).ok_or(Reason::Inconsistent)?;
    let ring = tables.current_ring(scratch.onward.service).ok_or(Reason::Inconsistent)?;
    (scratch.onward.ring, scratch.onward.passed, scratch.onward.compared) = (ring, 0, 0);
    let length = ring.length();
    if length == 0 {
        scratch.onward.refuse(Reason::NoBackend);
        return Ok(());
    }
    // Of a backend that the packet names nothing is known of where it stands.
    scratch.onward.position = 0;
    scratch.onward.without = [NOBODY; 2];
    let named = scratch.onward.backend != NOBODY;
    if named || service.affinity != 0 && affinity::recall(tables, scratch) {
        // A connection or a source leaves its backend only when that is full.
        scratch.onward.limit = Limit::Hard;
        return Ok(());
    }
    scratch.onward.limit = Limit::Soft;
    scratch.onward.backend = match service.strategy {
        strategy::P2C => two(tables, &mut scratch.onward),
        // By comparing all: that is what a search does.
        strategy::LEAST_CONN => NOBODY,
        strategy::WRR => in_ring(tables, ring, in_turn(tables, scratch.onward.service, length)),
        strategy::RANDOM => in_ring(tables, ring, slot(tables.random(), length)),
        _ => in_ring(tables, ring, slot(scratch.parsed.key.hash(), length)),
    };
    Ok(())
}

#[inline(always)]
fn in_ring<T: Tables>(tables: &T, ring: Ring, slot: u32) -> u32 {
    tables.ring(ring.offset() + slot).unwrap_or(NOBODY)
}

/// Every CPU goes through the ring on its own: nothing is shared, and each sends in proportion.
#[inline(always)]
fn in_turn<T: Tables>(tables: &T, service: u32, length: u32) -> u32 {
    // No ring here is empty, but a division must not be able to panic.
    tables.turn(service).checked_rem(length).unwrap_or(0)
}

/// 1 if it does, else 0: in arithmetic, since every branch here is followed for every member.
#[inline(always)]
const fn reaches(load: u64, limit: u32) -> u64 {
    (limit as u64).wrapping_sub(load).wrapping_sub(1) >> 63
}

/// The less burdened of two (Mitzenmacher, "The Power of Two Choices in Randomized Load
/// Balancing", 2001).
#[inline(never)]
fn two<T: Tables>(tables: &T, onward: &mut Forwarding) -> u32 {
    let ring = onward.ring;
    let one = in_ring(tables, ring, slot(tables.random(), ring.length()));
    let other = in_ring(tables, ring, slot(tables.random(), ring.length()));
    burden(tables, onward, one);
    let least = onward.burden;
    burden(tables, onward, other);
    if onward.burden < least { other } else { one }
}

/// Notes how much a backend has to do for its weight, and above all that its class: room below the
/// soft limit, below the hard one, [`FULL`], [`GONE`]. On the scratch, since the kernel's verifier
/// would draw conclusions from a result, and follow each of them.
#[inline(never)]
fn burden<T: Tables>(tables: &T, onward: &mut Forwarding, id: u32) {
    onward.burden = GONE;
    let (Some(backend), Some(reach)) = (tables.backend(id), tables.reach(id)) else { return };
    if reach.status() != status::HERE {
        return;
    }
    let [first, second] = onward.without;
    if id == first || id == second {
        onward.burden = FULL;
        return;
    }
    let load = tables.load(backend.load);
    // Shifted, so that weights make a difference at any load.
    let share = (load << 20).checked_div(backend.weight as u64).unwrap_or(u64::MAX);
    let share = share & ((1 << CLASS) - 1);
    // With so many a source port may be hard to find, so that it is as a soft limit.
    let ends = reaches(load, backend.ends) & (backend.ends as u64 + u32::MAX as u64) >> 32;
    let (soft, hard) = (reaches(load, backend.soft_limit), reaches(load, backend.hard_limit));
    let soft = soft | ends;
    onward.burden = (hard << 1 | soft & (hard ^ 1)) << CLASS | share;
}

/// Puts the least burdened of the members from a place on, or of them and a random slot's, on the
/// scratch: so of backends that all do nothing, the heavier ones get more. The place moves on.
#[inline(never)]
fn least<T: Tables>(tables: &T, scratch: &mut Scratch) {
    let onward = &mut scratch.onward;
    let ring = onward.ring;
    onward.backend = in_ring(tables, ring, slot(tables.random(), ring.length()));
    burden(tables, onward, onward.backend);
    onward.least = onward.burden;
    onward.position = onward.position.checked_rem(ring.members(tables)).unwrap_or(0);
    tables.repeat::<Comparing>(COMPARED, scratch);
}

/// The next member with the least burdened one so far.
struct Comparing;

impl<T: Tables> Step<T> for Comparing {
    #[inline(always)]
    fn take(tables: &T, scratch: &mut Scratch, number: u32) -> bool {
        compare(tables, &mut scratch.onward, number)
    }
}

/// Whether there was another member.
#[inline(always)]
fn compare<T: Tables>(tables: &T, onward: &mut Forwarding, step: u32) -> bool {
    let ring = onward.ring;
    let members = ring.members(tables);
    if step >= members {
        return false;
    }
    let place = onward.position;
    onward.position = if place + 1 < members { place + 1 } else { 0 };
    let Some(id) = ring.member(tables, place) else { return false };
    burden(tables, onward, id);
    if onward.burden < onward.least {
        (onward.backend, onward.least) = (id, onward.burden);
    }
    true
}

/// Counts the flow in at the backend on the scratch, if that is there and below its limit. Counting
/// tells what the count was: of several CPUs, as many succeed as there is room for.
#[inline(never)]
fn take<T: Tables>(tables: &T, onward: &mut Forwarding) -> bool {
    let id = onward.backend;
    let (Some(backend), Some(reach)) = (tables.backend(id), tables.reach(id)) else { return false };
    let Some(service) = tables.service(onward.service) else { return false };
    if reach.status() == status::GONE {
        return false;
    }
    onward.load = backend.load;
    if service.flags & service_flags::LIMITED == 0 {
        tables.count_in(backend.load);
        return true;
    }
    let (soft, hard) = (backend.soft_limit, backend.hard_limit);
    let room = if onward.limit == Limit::Soft && soft < hard { soft } else { hard } as u64;
    // Looking first spares a full backend's count two writes by every CPU.
    if tables.load(backend.load) >= room {
        return false;
    }
    if tables.count_in(backend.load) < room {
        return true;
    }
    tables.count_out(backend.load);
    false
}

/// Where there is room when there is no choice, or it has none: next to it on the ring, then among
/// all members, then among those of the next region.
#[inline(never)]
fn search<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = &mut *scratch;
    let service = tables.service(onward.service).ok_or(Reason::Inconsistent)?;
    let ring = onward.ring;
    onward.limit = Limit::Soft;
    let chosen = slot(parsed.key.hash(), ring.length()) as u64;
    let near = if service.strategy == strategy::LEAST_CONN { 0 } else { NEAR };
    for step in 1..=NEAR {
        if step > near {
            break;
        }
        let place = (chosen + step).checked_rem(ring.length() as u64).unwrap_or(0);
        onward.backend = in_ring(tables, ring, place as u32);
        if take(tables, onward) {
            return Ok(());
        }
    }
    onward.exit.reason = Reason::NoBackend;
    onward.limit = Limit::Hard;
    onward.position = tables.random();
    onward.way = NextStep::Refuse;
    tables.repeat::<Comparison>(ROUNDS, scratch);
    Ok(())
}

/// Of the members of one ring. [`NextStep::Open`]: the flow is counted in at the least burdened.
struct Comparison;

impl<T: Tables> Step<T> for Comparison {
    #[inline(always)]
    fn take(tables: &T, scratch: &mut Scratch, _: u32) -> bool {
        least(tables, scratch);
        let onward = &mut scratch.onward;
        if onward.least < FULL && take(tables, onward) {
            onward.way = NextStep::Open;
            return false;
        }
        if onward.least < GONE {
            onward.exit.reason = Reason::BackendsFull;
        }
        go_on(tables, onward)
    }
}

/// Another backend for a flow that was counted in at the one on the scratch, and found no source
/// port towards it: the one with least to do, of all that have room in this ring.
/// [`NextStep::Refuse`]: there is none, and it goes on counting where it did. `false`: nor in any
/// other ring.
#[inline(always)]
pub(crate) fn another<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let counted = scratch.onward.load;
    scratch.onward.without = [scratch.onward.backend, scratch.onward.without[0]];
    scratch.onward.limit = Limit::Hard;
    scratch.onward.position = tables.random();
    scratch.onward.way = NextStep::Refuse;
    least(tables, scratch);
    let onward = &mut scratch.onward;
    if onward.least < FULL && take(tables, onward) {
        onward.way = NextStep::Open;
        tables.count_out(counted);
        return true;
    }
    onward.load = counted;
    go_on(tables, onward)
}

/// Whether there is more to compare: others in this ring, or the next region's. That one's turn
/// comes when there is surely no room in this one, or none was found so often.
#[inline(never)]
fn go_on<T: Tables>(tables: &T, onward: &mut Forwarding) -> bool {
    let ring = onward.ring;
    let members = ring.members(tables);
    onward.compared += 1;
    let is_full = onward.least >= FULL && members <= COMPARED;
    if !is_full && onward.compared < TRIES {
        return true;
    }
    let (place, length) = ring.behind(tables, members);
    if length == 0 {
        return false;
    }
    onward.ring = Ring::new(place, length);
    onward.compared = 0;
    onward.passed += 1;
    true
}

impl Ring {
    /// How many backends may take new flows.
    #[inline(always)]
    pub(crate) fn members<T: Tables>(self, tables: &T) -> u32 {
        tables.ring(self.offset() + self.length()).unwrap_or(0)
    }

    /// Where the next region's ring begins, and how long it is; 0: there is none.
    #[inline(always)]
    fn behind<T: Tables>(self, tables: &T, members: u32) -> (u32, u32) {
        let end = self.offset() + self.length() + 1 + members;
        (end + 1, tables.ring(end).unwrap_or(0))
    }

    /// One of them, counted from 0.
    #[inline(always)]
    pub(crate) fn member<T: Tables>(self, tables: &T, place: u32) -> Option<u32> {
        tables.ring(self.offset() + self.length() + 1 + place)
    }
}
