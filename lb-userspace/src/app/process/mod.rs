//! What the process needs of the system: privileges and signals.

pub(crate) mod config_watch;
pub(crate) mod privilege;
pub(crate) mod service_manager;
pub(crate) mod signals;
