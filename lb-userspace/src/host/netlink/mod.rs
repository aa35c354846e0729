//! Reads and changes the kernel's network configuration over rtnetlink, and watches it. Imports
//! `error`.

pub(crate) mod addresses;
pub(crate) mod connection;
pub(crate) mod interfaces;
pub(crate) mod neighbour;
pub(crate) mod source_route;
pub(crate) mod watch;
