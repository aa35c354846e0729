//! Frames: bounded access, headers, tags, checksums.

pub mod checksum;
pub mod packet;
pub mod parse;
pub mod vlan;
