//! Neighbour entries: next hops of servers, and confirmation of clients' entries. Imports
//! `netlink`.

pub(crate) mod batch;
pub(crate) mod confirmation;
pub(crate) mod next_hops;
