//! Walks the flow table, ends silent flows and keeps LOAD honest.

use lb_common::abi::{Flow, FlowKey, direction};
use tracing::{debug, warn};

use super::{
    DatapathError,
    drift::{DriftWatch, Observation},
    expiry::{Timeouts, is_closed, peer_key},
    table::Table,
};
use crate::{
    load::{Load, LoadSlot},
    settings::FlowTimeouts,
};

/// The kernel program inserts the two entries of a flow one after the other; a reverse entry that
/// is alone for this long was left behind. Nanoseconds.
const ORPHAN_AGE: u64 = 1_000_000_000;

/// Looking for orphans costs a system call for each silent flow. In a table with more flows than
/// this, each sweep looks at one share of them only.
const ALL_AT_ONCE: u64 = 32_768;
const SHARES: u16 = 16;

/// Owner of the flow table in userspace. Its work is system calls: run it where blocking is fine.
pub struct Sweeper {
    flows: Table<FlowKey, Flow>,
    load: Load,
    timeouts: Timeouts,
    watch: DriftWatch,
    /// Sweeps so far, and the flows that the last one found.
    round: u16,
    population: u64,
}

/// What one sweep found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Flows that stay and count in LOAD.
    pub live: u64,
    /// Closed flows whose source port is still kept back.
    pub closed: u64,
    /// Flows removed.
    pub expired: u64,
    /// Reverse entries removed because no flow owned them.
    pub orphans: u64,
    /// Counts in LOAD that were wrong and were put right.
    pub corrected: u64,
    /// The live flows of each load slot.
    pub flows: Vec<u64>,
}

impl Sweeper {
    pub(super) fn new(flows: Table<FlowKey, Flow>, load: Load, timeouts: FlowTimeouts) -> Self {
        let watch = DriftWatch::new(load.slots());
        Self { flows, load, timeouts: timeouts.into(), watch, round: 0, population: 0 }
    }

    /// For the sweeps from now on.
    pub fn set_timeouts(&mut self, timeouts: FlowTimeouts) {
        self.timeouts = timeouts.into();
    }

    /// The table itself, for whoever lists flows.
    #[must_use]
    pub fn flows(&self) -> &Table<FlowKey, Flow> {
        &self.flows
    }

    /// One walk through all flows; `now` as [`clock::now`](super::clock::now) reads it.
    ///
    /// # Errors
    ///
    /// A system call failed; what was done until then stays done, and the next sweep goes on.
    pub fn sweep(&mut self, now: u64) -> Result<Sweep, DatapathError> {
        let before = self.counts();
        let mut sweep = Sweep { flows: vec![0; self.load.slots()], ..Sweep::default() };
        let mut walk = self.flows.walk();
        while let Some(entries) = walk.next_batch()? {
            for (key, flow) in entries {
                if flow.direction == direction::FORWARD {
                    self.visit_flow(now, key, flow, &mut sweep)?;
                } else {
                    self.visit_reverse(now, key, flow, &mut sweep)?;
                }
            }
        }
        self.round = self.round.wrapping_add(1);
        self.population = sweep.live + sweep.closed;
        self.reconcile(&before, &mut sweep);
        Ok(sweep)
    }

    fn visit_flow(
        &self,
        now: u64,
        key: &FlowKey,
        flow: &Flow,
        sweep: &mut Sweep,
    ) -> Result<(), DatapathError> {
        if self.is_over(now, key, flow)? && self.end(now, key)? {
            sweep.expired += 1;
        } else if is_closed(flow.state) {
            sweep.closed += 1;
        } else {
            sweep.live += 1;
            if let Some(flows) = sweep.flows.get_mut(flow.load as usize) {
                *flows += 1;
            }
        }
        Ok(())
    }

    /// The reverse entry is asked only where the forward one is silent: most never are.
    fn is_over(&self, now: u64, key: &FlowKey, flow: &Flow) -> Result<bool, DatapathError> {
        if !self.timeouts.is_over(now, key.protocol, flow, 0) {
            return Ok(false);
        }
        let reverse = self.flows.lookup(&peer_key(key.protocol, flow))?;
        let answered = reverse.map_or(0, |reverse| reverse.seen);
        Ok(self.timeouts.is_over(now, key.protocol, flow, answered))
    }

    /// Removes a flow that is over; answers whether it is gone.
    ///
    /// Its last state decides, not the one the walk read. Two races with a packet remain. One that
    /// arrived since the walk read the entry shows in `seen`, and the flow goes back in. One that
    /// holds the entry while it is taken out can close the flow after we read its state, so that
    /// both sides count it out of LOAD; that is for [`DriftWatch`] to find.
    fn end(&self, now: u64, key: &FlowKey) -> Result<bool, DatapathError> {
        let Some(last) = self.flows.take(key)? else {
            return Ok(true);
        };
        if !self.is_over(now, key, &last)? && self.flows.insert_new(key, &last)? {
            return Ok(false);
        }
        if !is_closed(last.state) && (last.load as usize) < self.load.slots() {
            self.load.leave(LoadSlot(last.load), 1);
        }
        self.flows.delete(&peer_key(key.protocol, &last))?;
        Ok(true)
    }

    /// A reverse entry without a flow that leads to it keeps a source port for nothing.
    fn visit_reverse(
        &self,
        now: u64,
        key: &FlowKey,
        reverse: &Flow,
        sweep: &mut Sweep,
    ) -> Result<(), DatapathError> {
        if now.saturating_sub(reverse.seen) <= ORPHAN_AGE || !self.is_turn_of(key) {
            return Ok(());
        }
        let forward = self.flows.lookup(&peer_key(key.protocol, reverse))?;
        let owned = forward.is_some_and(|forward| peer_key(key.protocol, &forward) == *key);
        if !owned && self.flows.delete(key)? {
            sweep.orphans += 1;
            debug!(?key, "removed a reverse entry without a flow");
        }
        Ok(())
    }

    /// Our source ports, handed out in turn, make even shares.
    fn is_turn_of(&self, reverse: &FlowKey) -> bool {
        let share = u16::from_be_bytes(reverse.dst_port) % SHARES;
        self.population <= ALL_AT_ONCE || share == self.round % SHARES
    }

    fn reconcile(&mut self, before: &[u64], sweep: &mut Sweep) {
        for (index, &before) in before.iter().enumerate() {
            let slot = LoadSlot(index as u32);
            let seen = Observation {
                before,
                // A slot that `end` took flows from has moved by that: its turn is the next sweep.
                after: self.load.count(slot),
                flows: sweep.flows[index],
                permits: self.load.permits(slot),
            };
            let by = self.watch.correction(index, seen);
            if by != 0 {
                self.load.correct(slot, by);
                sweep.corrected += 1;
                warn!(slot = index, by, ?seen, "corrected a live count that had drifted");
            }
        }
    }

    fn counts(&self) -> Vec<u64> {
        let slots = 0..self.load.slots() as u32;
        slots.map(|slot| self.load.count(LoadSlot(slot))).collect()
    }
}
