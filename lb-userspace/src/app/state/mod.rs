//! What the next daemon must know of this one, in files of the state directory.

pub(crate) mod generations;
pub(crate) mod id_log;
pub(crate) mod last_good;
pub(crate) mod store;
