//! Ids: which index of the kernel's tables is whose, over changes and restarts.

pub(crate) mod assigned;
pub(crate) mod pool;
pub(crate) mod recognise;
pub(crate) mod stable_ids;
