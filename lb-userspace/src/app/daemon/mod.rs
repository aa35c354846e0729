//! The daemon: what it has, and the loop that receives events.

pub(crate) mod checks;
pub(crate) mod event_loop;
pub(crate) mod host_events;
pub(crate) mod proxy_start;
pub(crate) mod replan;
pub(crate) mod start;
pub(crate) mod state;
