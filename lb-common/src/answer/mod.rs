//! Frames turned into answers to their senders.

pub(crate) mod challenge;
pub(crate) mod rate;
pub(crate) mod reset;
pub(crate) mod segment;
pub(crate) mod too_big;
