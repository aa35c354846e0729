//! Desired state, and the plan that leads there: pure.
//!
//! [`StableIds`] gives everything its id, [`Desired`] says what the kernel's tables should hold,
//! [`plan()`] says in which order to change what differs. Each service has a part of its own in
//! all of it, which is worked out anew only when something of it changed.

mod access;
mod actual;
mod desired;
mod entry;
mod error;
mod family;
#[cfg(test)]
mod fixture;
mod ids;
mod needs;
mod plan;
mod ports;
mod retiring;
mod rings;
mod service_tables;

pub use self::{
    actual::ActualTables,
    desired::{Circumstances, Desired},
    entry::mode_of,
    error::ControlError,
    ids::{
        assigned::{Assigned, Change},
        recognise::recognise,
        stable_ids::{Index, StableIds},
    },
    needs::needs,
    plan::{Plan, plan},
    ports::prefixes,
    retiring::{Departure, Leaver},
    rings::{
        maglev::{RingMember, SLOTS_PER_MEMBER, USUAL as USUAL_RING, populate},
        resized::{Resized, resized},
    },
};
