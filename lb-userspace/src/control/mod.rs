//! Computes the desired state of the kernel's tables and the plan that leads there: pure. Imports
//! the values that modules share.
//!
//! [`StableIds`] assigns ids, [`Desired`] holds what the kernel's tables should contain, [`plan()`]
//! orders the changes. Each service has a part of its own, which is computed again only when
//! something in it has changed.

mod access;
mod actual;
mod desired;
mod entry;
mod error;
mod family;
#[cfg(test)]
mod fixture;
mod ids;
mod plan;
mod ports;
mod required_capacity;
mod retiring;
mod ring_resize;
mod rings;
mod service_tables;

pub use self::{
    actual::ActualTables,
    desired::{Desired, UpdateContext},
    entry::mode_of,
    error::ControlError,
    ids::{
        assigned::{Change, IdAssignment},
        recognise::recognise,
        stable_ids::{Index, StableIds},
    },
    plan::{Plan, plan},
    ports::prefixes,
    required_capacity::required_capacity,
    retiring::{Departure, LeavingServer},
    ring_resize::{RingResize, ring_resize},
    rings::maglev::{RingMember, SLOTS_PER_MEMBER, USUAL as USUAL_RING, populate},
};
