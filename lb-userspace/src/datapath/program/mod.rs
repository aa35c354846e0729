//! The kernel object: loads it, attaches its programs, and repairs what others removed. Imports
//! `bpf`, `maps`, `persist` and `explain`.

pub(crate) mod attachment;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod load;
#[cfg(feature = "kernel-log")]
pub(crate) mod log;
pub(crate) mod repair;
