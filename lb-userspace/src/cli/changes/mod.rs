//! Commands that change what runs.

pub(super) mod drain;
pub(super) mod reload;
pub(super) mod upgrade;
