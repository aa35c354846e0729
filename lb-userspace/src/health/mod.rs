//! Active health checks: a sans-I/O state machine and the probes around it. Imports `exhaustion`,
//! `fleet` and `service`.

mod failure;
mod h2c;
mod keyed_tasks;
mod monitor;
mod probe;
mod proxy_header;
mod request;
mod state;
mod tunnel;

pub use failure::CheckFailure;
pub use h2c::H2cProbes;
pub use monitor::{CheckContext, Monitor, Transition};
pub use probe::{CheckTarget, probe};
pub use state::Health;
pub use tunnel::{Encapsulation, RouteFinder, TunnelRoute};
