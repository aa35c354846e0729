//! Neighbour entries: next hops of servers, entries of clients, and who answers for announced
//! addresses.

pub(crate) mod answering;
pub(crate) mod confirmation;
pub(crate) mod entry;
pub(crate) mod next_hops;
pub(crate) mod upkeep;
