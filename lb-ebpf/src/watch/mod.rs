//! The packet path with somebody looking on: `lb_explain`, which changes nothing, and `lb_trace`.
//!
//! What they tell is what the path asks of its [`Tables`]: nothing in the path itself speaks of
//! them, and `lb_xdp` has none of it.

mod dry;
mod report;
mod watched;

pub use self::{report::report, watched::Watched};
