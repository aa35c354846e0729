//! What processes and kernels say about themselves.

pub mod cpu;
pub mod diagnosis;
pub mod entries;
