//! The packet path as an ordinary library: generic over the packet and the maps, unit-tested on
//! the host, compiled again for the kernel by lb-ebpf.
//!
//! In rooms, each of which imports only those before it but for a few files of `context`:
//! `abi → context ⇄ wire → flow_table → forward → reply → select → lifecycle → classify →
//! pipeline`. Other crates import what is re-exported here.

#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod abi;
mod classify;
mod context;
mod flow_table;
mod forward;
mod lifecycle;
pub mod pipeline;
mod reply;
mod select;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use self::{
    classify::{admit, flood_guard, icmp},
    context::{map_values, parsed, prng, reason, source_tables, tables, verdict},
    flow_table::{half_open, placement, table as flows},
    forward::{decap, encap, nat, next_hop},
    lifecycle::open,
    reply::syn_cookie,
    select::pick,
    wire::{checksum, packet, parse, vlan},
};
