//! The packet path as an ordinary library: generic over the packet and the maps, unit-tested on
//! the host, compiled again for the kernel by lb-ebpf.
//!
//! `abi, tables, verdict ← packet, checksum ← vlan ← flow, next_hop ← rewrite ← icmp ← pipeline ←
//! lb-ebpf`

#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod abi;
pub mod checksum;
pub mod flow;
pub mod icmp;
pub mod next_hop;
pub mod packet;
pub mod pipeline;
pub mod rewrite;
pub mod tables;
#[cfg(feature = "testing")]
pub mod testing;
pub mod verdict;
pub mod vlan;
