//! Rings: which server owns which slot, and where a ring is in the kernel's table. Imports no other
//! room.

pub(crate) mod maglev;
pub(crate) mod parallel;
pub(crate) mod regions;
pub(crate) mod ring_spec;
pub(crate) mod space;
