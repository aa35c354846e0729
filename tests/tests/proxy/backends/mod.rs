//! Which backend answers, and whom.

mod latency;
mod limits;
mod places;
mod private;
