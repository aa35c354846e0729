//! Walks the flow table, ends idle flows and corrects LOAD. All of it happens in mapped memory,
//! beside the kernel program and by its rules.

use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_common::{
    abi::{Flow, Slot, flow_state, mode},
    parse::{TCP, UDP},
    tables::Part,
};
use tracing::warn;

use super::{
    client_sample::ClientSample,
    count_drift::{DriftDetector, Observation},
    expiry::is_closed,
    flow_table::{FlowTable, exchange, name},
    lifetimes::{LifetimeTable, Lifetimes},
    orphan_answers::OrphanAnswers,
    referenced_ids::ReferencedIds,
};
use crate::datapath::maps::declared_ports::DeclaredPorts;
use crate::load::{Load, LoadSlot};

/// A slot that does not change for so long, in ns, was left behind: the kernel program holds a slot
/// for microseconds.
const STUCK: u64 = 10_000_000_000;

/// How long, in ns, a client waits for a server's first packet before that is suspicious: its SYN
/// has been retransmitted by then.
const ANSWER: u64 = 3_000_000_000;

/// Ends idle flows. A sweep computes for milliseconds: run it where that does no harm.
pub struct Sweeper {
    flows: Arc<FlowTable>,
    load: Load,
    lifetimes: Lifetimes,
    watch: DriftDetector,
    orphans: OrphanAnswers,
    /// Slots that were being written, by their flow's number: the word, and since when.
    held: HashMap<u32, (u64, u64)>,
    /// Lists of an earlier sweep, for reuse.
    spare: Spare,
}

/// Lists with one element per load slot. They take megabytes, and allocating those every second is
/// expensive in an allocator of many threads.
#[derive(Default)]
struct Spare {
    before: Vec<Option<u64>>,
    flows: Vec<u64>,
    answers: Vec<ServerAnswers>,
    ports: Vec<[u64; 2]>,
}

/// The findings and effects of one sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Remaining flows by state.
    pub population: Population,
    /// Flows removed.
    pub expired: u64,
    /// Orphan words of ANSWERS that were removed.
    pub orphans: u64,
    /// Counts in LOAD that were corrected.
    pub corrected: u64,
    /// The counted flows of each load slot.
    pub flows: Vec<u64>,
    /// The answers of each load slot's server to TCP flows with `nat`.
    pub answers: Vec<ServerAnswers>,
    /// The source ports in use at each load slot, by closed flows too: TCP's and UDP's.
    pub ports: Vec<[u64; 2]>,
    /// The ids that flows refer to, closed flows too.
    pub referenced_ids: ReferencedIds,
    /// A sample of the clients of flows that were answered through us.
    pub sample: ClientSample,
}

/// Open connections to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerAnswers {
    /// Those with a packet from the server.
    pub answered: u64,
    /// Those without one for `ANSWER`.
    pub unanswered: u64,
}

/// A sweep's inputs, and its findings so far.
struct Walk {
    now: u64,
    lifetimes: Arc<LifetimeTable>,
    /// Flows to undeclared ports end.
    declared: Option<Arc<DeclaredPorts>>,
    undeclared: u64,
    /// LOAD before the walk; `None` where it can no longer be compared.
    before: Vec<Option<u64>>,
    sweep: Sweep,
}

/// The number of flows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    pub established: u64,
    /// Flows whose client has not proved yet that it receives the answers.
    pub half_open: u64,
    /// Closed flows whose source port is still reserved.
    pub closed: u64,
}

impl Population {
    /// Returns the number of flows that are not closed.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.established + self.half_open
    }
}

impl Sweeper {
    pub(crate) fn new(flows: Arc<FlowTable>, load: Load, lifetimes: Lifetimes) -> Self {
        let watch = DriftDetector::new(load.slots());
        let held = HashMap::new();
        let orphans = OrphanAnswers::default();
        Self { flows, load, lifetimes, watch, orphans, held, spare: Spare::default() }
    }

    /// Takes back lists of an earlier sweep for reuse.
    pub fn reuse(&mut self, flows: Vec<u64>, answers: Vec<ServerAnswers>, ports: Vec<[u64; 2]>) {
        let before = mem::take(&mut self.spare.before);
        self.spare = Spare { before, flows, answers, ports };
    }

    /// Walks once through all flows; `now` is read from `clock::now`.
    pub fn sweep(&mut self, now: u64) -> Sweep {
        let flows = self.flows.clone();
        let held = mem::take(&mut self.held);
        let slots = self.load.slots();
        let Spare { mut before, flows: counts, answers, ports } = mem::take(&mut self.spare);
        before.clear();
        before.extend(self.readings());
        let sweep = Sweep {
            flows: cleared(counts, slots),
            answers: cleared(answers, slots),
            ports: cleared(ports, slots),
            ..Sweep::default()
        };
        let declared = self.lifetimes.declared().filter(|declared| declared.is_due(now));
        let mut walk =
            Walk { now, lifetimes: self.lifetimes.table(), declared, undeclared: 0, before, sweep };
        // In the order in which flows move, so that none is missed in both parts.
        for part in [Part::Pending, Part::Established] {
            for (number, word) in flows.part(part).slots.iter().enumerate() {
                let slot = Slot(word.load(Ordering::Acquire));
                if !slot.is_free() {
                    flows.part(part).note_ids(number, &mut walk.sweep.referenced_ids);
                }
                if slot.has(flow_state::CLAIMED) {
                    let name = name(part, number);
                    self.watch_writer(held.get(&name), name, word, now);
                } else if slot.has(flow_state::OPEN) {
                    self.visit(part, number, word, slot, &mut walk);
                }
            }
        }
        let Walk { before, mut sweep, declared, undeclared, .. } = walk;
        if declared.is_some() && undeclared == 0 {
            self.lifetimes.are_all_declared();
        }
        sweep.orphans = self.orphans.sweep(&flows);
        self.reconcile(&before, &mut sweep);
        self.spare.before = before;
        sweep
    }

    /// Visits a slot. `seen` is the slot before its entry is read.
    fn visit(&self, part: Part, number: usize, word: &AtomicU64, seen: Slot, walk: &mut Walk) {
        let Some(flow) = self.flows.part(part).glimpse(number) else { return };
        // Read after the entry: if the slot did not change, the entry was its flow's.
        let slot = Slot(word.load(Ordering::Acquire));
        if !slot.has(flow_state::OPEN) {
            return;
        }
        let state = slot.state();
        // The idle time of a flow that has just left is not the next one's.
        let undeclared = self.is_undeclared(part, number, walk);
        walk.undeclared += u64::from(undeclared);
        let silent = walk.lifetimes.of(flow.service).is_over(walk.now, &flow, state);
        let over = slot == seen && (silent || undeclared);
        if over && self.end(part, number, word, slot) {
            walk.sweep.expired += 1;
            return;
        }
        let load = flow.load as usize;
        let flows = walk.sweep.flows.get_mut(load);
        if let Some(flows) = flows.filter(|_| slot.has(flow_state::COUNTED)) {
            *flows += 1;
        }
        let has_port = u32::from(flow.mode) == mode::NAT;
        if let Some(ports) = walk.sweep.ports.get_mut(load).filter(|_| has_port) {
            ports[usize::from(flow.protocol == UDP)] += 1;
        }
        // The flow moved here during the walk, and may have been visited before it moved.
        if let (Part::Established, Some(before)) = (part, walk.before.get_mut(load))
            && slot.is_born_since(walk.now)
        {
            *before = None;
        }
        if u32::from(flow.mode) == mode::NAT
            && flow.protocol == TCP
            && !is_closed(state)
            && let Some(answers) = walk.sweep.answers.get_mut(load)
        {
            let waits = walk.now.saturating_sub(flow.opened) > ANSWER;
            answers.answered += u64::from(flow.answered);
            answers.unanswered += u64::from(!flow.answered && waits);
        }
        if flow.answered && !is_closed(state) {
            let client = |flow: Flow| IpAddr::from(flow.client.bytes()).to_canonical();
            walk.sweep.sample.meet(|| self.flows.part(part).flow(number).map(client));
        }
        let population = &mut walk.sweep.population;
        if is_closed(state) {
            population.closed += 1;
        } else if slot.has(flow_state::CONFIRMED) {
            population.established += 1;
        } else {
            population.half_open += 1;
        }
    }

    fn is_undeclared(&self, part: Part, number: usize, walk: &Walk) -> bool {
        let Some(declared) = &walk.declared else { return false };
        self.flows.part(part).flow(number).is_some_and(|flow| !declared.has(&flow))
    }

    /// Removes an expired flow if its slot has not changed since. Returns whether it did.
    ///
    /// The exchange succeeds only while the slot still holds the flow that was read; the slot
    /// becomes free only after nothing of the flow is needed any more.
    fn end(&self, part: Part, number: usize, word: &AtomicU64, slot: Slot) -> bool {
        if slot.has(flow_state::CLAIMED) {
            return false;
        }
        let entries = self.flows.part(part);
        let Some(flow) = entries.flow(number) else { return false };
        if !exchange(word, slot.0, slot.held().0) {
            return false;
        }
        self.flows.forget_answer(&flow);
        if slot.has(flow_state::COUNTED) && (flow.load as usize) < self.load.slots() {
            self.load.leave(LoadSlot(flow.load), 1);
        }
        entries.release(number);
        exchange(word, slot.held().0, slot.vacant().0);
        true
    }

    /// Frees a slot whose writer is gone. `before` is the word when it was last seen being written,
    /// and since when. What the writer may have left in ANSWERS becomes an orphan, and what it
    /// counted becomes drift.
    fn watch_writer(&mut self, before: Option<&(u64, u64)>, name: u32, word: &AtomicU64, now: u64) {
        let slot = Slot(word.load(Ordering::Acquire));
        let same = before.filter(|before| before.0 == slot.0);
        let since = same.map_or(now, |before| before.1);
        if now.saturating_sub(since) <= STUCK {
            self.held.insert(name, (slot.0, since));
        } else if exchange(word, slot.0, slot.vacant().0) {
            warn!(number = name, "freed a slot of the flow table that was left half written");
        }
    }

    fn reconcile(&mut self, before: &[Option<u64>], sweep: &mut Sweep) {
        for (index, &before) in before.iter().enumerate() {
            let slot = LoadSlot(index as u32);
            let seen = Observation {
                before,
                // A slot that `end` took flows from has changed by that; the next sweep checks it.
                after: self.load.reading(slot),
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

    fn readings(&self) -> impl Iterator<Item = Option<u64>> + '_ {
        let slots = 0..self.load.slots() as u32;
        slots.map(|slot| Some(self.load.reading(LoadSlot(slot))))
    }
}

fn cleared<T: Clone + Default>(mut list: Vec<T>, length: usize) -> Vec<T> {
    list.clear();
    list.resize(length, T::default());
    list
}
