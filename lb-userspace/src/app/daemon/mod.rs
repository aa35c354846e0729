//! The daemon: what it has, and the loop that receives events.

pub(crate) mod change;
pub(crate) mod checks;
pub(crate) mod desired;
pub(crate) mod event_loop;
pub(crate) mod host_sync;
pub(crate) mod install;
pub(crate) mod proxy_start;
pub(crate) mod reconcile;
pub(crate) mod reload;
pub(crate) mod requests;
pub(crate) mod serving;
pub(crate) mod shutdown;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod upgrade;
