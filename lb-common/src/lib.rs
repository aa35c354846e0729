//! The packet path as an ordinary library: generic over the packet and the maps, unit-tested on
//! the host, compiled again for the kernel by lb-ebpf.

#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod abi;
pub mod admit;
mod affinity;
mod answer;
pub mod arrival;
pub mod chance;
pub mod checksum;
pub mod cookie;
pub mod decap;
pub mod encap;
pub mod flow;
pub mod flow_table;
mod fragment;
mod gone;
pub mod guard;
pub mod icmp;
pub mod in_place;
mod mss;
mod neighbours;
pub mod next_hop;
mod obstacle;
mod odd;
pub mod open;
mod opening;
pub mod packet;
pub mod pending;
pub mod pick;
pub mod pipeline;
mod quic;
pub mod reason;
pub mod rewrite;
mod shortage;
pub mod sources;
pub mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod track;
pub mod trail;
mod unknown;
pub mod verdict;
pub mod vlan;
