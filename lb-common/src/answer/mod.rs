//! Frames turned into answers to their senders.

pub(crate) mod reset;
pub(crate) mod too_big;
