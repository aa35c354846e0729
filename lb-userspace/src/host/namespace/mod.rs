//! The daemon's network namespace: what the daemon reads, changes and undoes there. Imports
//! `netlink` and `neighbours`.

pub(crate) mod forwarding;
pub(crate) mod host;
pub(crate) mod local_routes;
pub(crate) mod lock;
pub(crate) mod neighbour_answering;
pub(crate) mod neighbour_upkeep;
pub(crate) mod queries;
pub(crate) mod reader;
pub(crate) mod undo_journal;
