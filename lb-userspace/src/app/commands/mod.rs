//! Commands that need no running daemon.

pub(crate) mod decap;
pub(crate) mod detach;
