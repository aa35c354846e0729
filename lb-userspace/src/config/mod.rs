//! Text to a validated [`Config`]: the only module that knows TOML.
//!
//! `reader` walks the TOML tree and collects mistakes; a file per table reads its keys; `combine`
//! and `conflict` refuse what one service, or several, must not say together.

mod address;
mod belonging;
mod chain;
mod combine;
mod conflict;
mod diagnostic;
mod flow_timeouts;
mod groups;
mod health;
mod hostname;
mod http;
mod limits;
mod load;
mod load_error;
mod named_file;
mod network;
mod node;
mod pool;
mod port;
mod port_range;
mod proxy;
mod reader;
mod redirect;
mod regions;
mod scalar;
mod section;
mod service;
mod source_addresses;
mod steering;
#[cfg(test)]
mod tests;
mod tls;
mod unused_sources;
mod whereabouts;

pub use diagnostic::{Diagnostic, Errors, Span};
pub use load::{load, load_examined, parse};
pub use load_error::LoadError;
pub use named_file::NamedFile;
pub use whereabouts::{Whereabouts, load_whereabouts};
