//! Frames turned into answers to their senders.

pub mod challenge;
pub mod rate;
pub mod reset;
pub mod segment;
pub mod syn_cookie;
pub mod too_big;
