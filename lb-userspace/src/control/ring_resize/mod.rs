//! Detects rings that change their length, and with it the server of every new flow.

use std::sync::Arc;

use lb_common::abi::strategy::MAGLEV;

use super::rings::maglev;
use super::{actual::ActualTables, desired::Desired, plan::Plan, service_tables::SteeredService};
use crate::{settings::MAGLEV_SIZES, tables::Command};

/// The maglev rings that a plan replaces with ones of another length.
///
/// Unless the configuration sets it, the servers alone determine it: see `maglev::length`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingResize {
    pub rings: Vec<Ring>,
    /// The `maglev_table_size` at which every ring keeps its current length.
    pub keeps: Option<u32>,
    /// The `maglev_table_size` at which the longest ring has its new length, and no shorter one
    /// changes again before it has as many servers.
    pub settles: Option<u32>,
}

/// A ring that changes its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ring {
    pub service: Arc<str>,
    /// Slots before and after.
    pub from: u32,
    pub to: u32,
}

/// Returns what `plan` changes in the lengths of rings; `None` if nothing. A ring with a single
/// server has one slot, so nothing moves.
#[must_use]
pub fn ring_resize(plan: &Plan, desired: &Desired, actual: &ActualTables) -> Option<RingResize> {
    let changes = plan.commands.iter().filter_map(|command| {
        let &Command::SetRing { service: id, ring } = command else { return None };
        let from = length(actual, id, desired.services.get(&id)?)?;
        (ring.length() > 1 && ring.length() != from).then_some((id, from, ring.length()))
    });
    let changes: Vec<_> = changes.collect();
    let &(_, first, _) = changes.first()?;
    let longest = changes.iter().map(|&(.., to)| to).max()?;
    let ring = |&(id, from, to): &(u32, u32, u32)| {
        Some(Ring { service: desired.service_of(id)?, from, to })
    };
    let mut rings: Vec<Ring> = changes.iter().filter_map(ring).collect();
    // Both families of a service often change alike.
    rings.sort_unstable();
    rings.dedup();
    let fits = |size: &u32| MAGLEV_SIZES.contains(size);
    Some(RingResize {
        rings,
        keeps: Some(first).filter(fits).filter(|&size| keeps_all(size, desired, actual)),
        settles: Some(longest).filter(fits),
    })
}

/// Returns whether every ring keeps its length with rings of `size` slots.
fn keeps_all(size: u32, desired: &Desired, actual: &ActualTables) -> bool {
    desired.services.iter().all(|(&id, steered)| {
        let Some(has) = length(actual, id, steered) else { return true };
        let wants = maglev::length(&steered.spec.members, Some(size));
        wants <= 1 || wants == has
    })
}

/// Returns the number of slots of a service's ring, if it uses `maglev` and goes on to.
fn length(actual: &ActualTables, id: u32, steered: &SteeredService) -> Option<u32> {
    // A service that is all zero is not stored: it uses maglev.
    let was = actual.services.get(&id).map_or(MAGLEV, |service| service.strategy);
    let has = actual.current.get(&id)?.length();
    (steered.service.strategy == MAGLEV && was == MAGLEV && has > 1).then_some(has)
}

#[cfg(test)]
mod tests;
