//! Weighted rendezvous hashing: each client address ranks the backends in its own fixed order.
//!
//! D. Thaler, C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1998; weights by the
//! logarithmic method of C. Schindelhauer, G. Schomaker, 2005. A backend that leaves moves its own
//! clients only.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::fleet::Backend;

pub(super) fn pick(
    backends: &[Arc<Backend>],
    eligible: impl Fn(usize) -> bool,
    client: IpAddr,
) -> Option<usize> {
    (0..backends.len())
        .filter(|&index| eligible(index))
        .map(|index| (index, score(&backends[index], client)))
        .max_by(|(_, left), (_, right)| left.total_cmp(right))
        .map(|(index, _)| index)
}

fn score(backend: &Backend, client: IpAddr) -> f64 {
    let hash = hash(backend.server.address, client);
    // Uniform in (0, 1) from the upper 53 bits.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(backend.server.weight) / -uniform.ln()
}

/// FNV-1a with a final mix. Fixed, so that every node and every restart agree.
fn hash(backend: SocketAddr, client: IpAddr) -> u64 {
    let state = fnv(0xcbf2_9ce4_8422_2325, &octets(backend.ip()));
    let state = fnv(state, &backend.port().to_be_bytes());
    let state = fnv(state, &octets(client));
    let mixed = (state ^ (state >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

fn fnv(state: u64, bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(state, |state, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
