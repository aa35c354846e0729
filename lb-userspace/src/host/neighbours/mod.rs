//! Neighbour entries: next hops of servers, confirmation of clients' entries, and answers for
//! announced addresses. Imports the netlink connection and the undo journal.

pub(crate) mod answering;
pub(crate) mod confirmation;
pub(crate) mod entry;
pub(crate) mod next_hops;
pub(crate) mod upkeep;
