//! The loaded kernel object without a daemon.

pub mod map_bytes;
pub mod mirror;
pub mod object;
pub mod pinned;
pub mod steered;
