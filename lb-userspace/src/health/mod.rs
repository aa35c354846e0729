//! Active checks: a sans-I/O state machine and the probes around it.

mod announce;
mod ask;
mod h2c;
mod monitor;
mod probe;
mod state;
mod tunnel;

pub use h2c::Prefaces;
pub use monitor::{Means, Monitor, Transition};
pub use probe::{Failure, Target, probe};
pub use state::Health;
pub use tunnel::{Finder, Way, Wrap};
