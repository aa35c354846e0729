//! Rings: which server owns which slot, and where a ring lies in the kernel's table.

pub(crate) mod maglev;
pub(crate) mod parallel;
pub(crate) mod regions;
pub(crate) mod resized;
pub(crate) mod ring_spec;
pub(crate) mod space;
