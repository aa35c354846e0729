//! The flow table: our own, in plain arrays, with a part for half-open flows.

pub mod half_open;
pub mod placement;
pub mod table;
