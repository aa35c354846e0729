//! Desired state, and the plan that leads there: pure.
//!
//! [`Slots`] gives everything its id, [`Desired`] says what the kernel's tables should hold,
//! [`plan()`] says in which order to change what differs.

mod desired;
mod maglev;
mod model;
mod needs;
mod plan;
mod prime;
mod slots;

pub use desired::{Desired, desire};
pub use maglev::{Member, populate};
pub use model::Tables;
pub use needs::needs;
pub use plan::plan;
pub use slots::{Assigned, Slots};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("too many {what}: the kernel's table has room for {room}")]
    Full { what: &'static str, room: u32 },
    #[error("no room for a ring of {length} slots: the kernel's table has {room} in all")]
    RingSpace { length: u32, room: u32 },
}
