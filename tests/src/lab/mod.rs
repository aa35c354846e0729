//! Namespaces, links and processes, and a lab made of them.

pub mod far_client;
pub mod far_end;
pub mod interrupt;
pub mod netns;
pub mod process;
pub mod snapshot;
pub mod stage;
pub mod tag;
pub mod topology;
