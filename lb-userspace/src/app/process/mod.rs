//! What the process asks of the system: privileges and signals.

pub(crate) mod privilege;
pub(crate) mod signals;
