//! Answers made of the frame itself, which go back to its sender.

pub mod challenge;
pub mod segment;
