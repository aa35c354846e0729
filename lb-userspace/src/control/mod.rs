//! Desired state, and the plan that leads there: pure.
//!
//! [`Slots`] gives everything its id, [`Desired`] says what the kernel's tables should hold,
//! [`plan()`] says in which order to change what differs. Each service has a part of its own in
//! all of it, which is worked out anew only when something of it changed.

mod access;
mod assigned;
mod crew;
mod desired;
mod entry;
mod family;
#[cfg(test)]
mod fixture;
mod fragment;
mod ids;
mod maglev;
mod model;
mod needs;
mod plan;
mod ports;
mod recipe;
mod recognise;
mod regions;
mod resized;
mod retiring;
mod slots;
mod space;

pub use assigned::{Assigned, Change};
pub use desired::{Circumstances, Desired};
pub use maglev::{Member, SLOTS_PER_MEMBER, USUAL as USUAL_RING, populate};
pub use model::Tables;
pub use needs::needs;
pub use plan::{Plan, plan};
pub use ports::prefixes;
pub use recognise::recognise;
pub use resized::{Resized, resized};
pub use retiring::{Departure, Leaver};
pub use slots::{Index, Slots};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("too many {what}: the kernel's table has room for {room}")]
    Full { what: &'static str, room: u32 },
    #[error("no room for a ring of {words} words: the kernel's table has {room} in all")]
    RingSpace { words: u32, room: u32 },
}
