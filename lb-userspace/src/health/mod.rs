//! Active checks: a sans-I/O state machine and the probes around it.

mod monitor;
mod probe;
mod state;

pub use monitor::{Monitor, Transition};
pub use probe::{Failure, probe};
pub use state::Health;
