//! The packet path as an ordinary library: generic over the packet and the maps, unit-tested on
//! the host, compiled again for the kernel by lb-ebpf.

#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod verdict;
