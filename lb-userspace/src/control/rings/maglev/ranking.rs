//! Each slot's ranking of the members: weighted rendezvous hashing.
//!
//! D. Thaler, C. Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1998; weights by the
//! logarithmic method of C. Schindelhauer, G. Schomaker, 2005.

use std::net::SocketAddr;

use lb_common::abi::Address;

use crate::service::mix;

/// A score; lower is better.
pub(crate) type Score = u64;

pub(crate) struct Ranking {
    hashes: Vec<u64>,
    /// 1 / weight; empty if all weights are equal, because then hashes alone decide.
    shares: Vec<f64>,
}

impl Ranking {
    pub(crate) fn new(servers: impl Iterator<Item = SocketAddr>, weights: &[u32]) -> Self {
        let differ = weights.iter().any(|&weight| weight != weights[0]);
        let shares = weights.iter().filter(|_| differ).map(|&weight| 1.0 / f64::from(weight));
        Self { hashes: servers.map(|server| hash(server, 1)).collect(), shares: shares.collect() }
    }

    /// Returns the score of `member` for `slot`. Two members never have the same, except for hash
    /// collisions.
    pub(crate) fn score(&self, slot: u32, member: usize) -> Score {
        let hash = mix(self.hashes[member] ^ u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match self.shares.get(member) {
            None => hash,
            // Positive floats are ordered like their bits.
            Some(share) => (minus_ln(hash) * share).to_bits(),
        }
    }
}

/// Returns `-ln(hash / 2^64)`, to about nine digits. It uses additions, multiplications and
/// divisions alone, which are exact to the bit on every machine: nodes must agree.
fn minus_ln(hash: u64) -> f64 {
    let hash = hash | 1;
    let exponent = hash.leading_zeros();
    // hash = mantissa * 2^-exponent * 2^64, with the mantissa from 1/2 to 1.
    let mantissa = ((hash << exponent) >> 11) as f64 / (1_u64 << 53) as f64;
    // ln m = 2 artanh((m - 1) / (m + 1)), with the argument from -1/3 to 0.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let terms = (0..9).rev().map(|term| 1.0 / f64::from(2 * term + 1));
    let series = terms.fold(0.0, |sum, factor| sum * square + factor);
    f64::from(exponent) * std::f64::consts::LN_2 - 2.0 * t * series
}

/// Hashes the server's address and port. Fixed for ever: nodes and versions must agree.
pub(crate) fn hash(server: SocketAddr, seed: u64) -> u64 {
    let address = u128::from_be_bytes(Address::of(server.ip()).bytes());
    [(address >> 64) as u64, address as u64, server.port().into()]
        .into_iter()
        .fold(mix(seed), |hash, word| mix(hash ^ word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right() {
        for hash in [u64::MAX, u64::MAX / 2, u64::MAX / 3, 1 << 63, 12345, 1, 0] {
            let exact = -((hash | 1) as f64 / 2.0_f64.powi(64)).ln();
            assert!((minus_ln(hash) - exact).abs() < 1e-8, "{hash}: {}", minus_ln(hash));
        }
    }

    /// Nodes of different versions share traffic: these values must never change.
    #[test]
    fn the_hash_is_for_ever() {
        let v4 = "10.0.0.1:80".parse().unwrap();
        let v6 = "[2001:db8::1]:443".parse().unwrap();
        assert_eq!(hash(v4, 1), 5_003_805_663_786_227_974);
        assert_eq!(hash(v6, 2), 238_048_411_737_678_050);
        assert_eq!(
            Ranking::new([v4, v6].into_iter(), &[1, 1]).score(7, 0),
            4_586_427_326_031_863_228
        );
        assert_eq!(
            Ranking::new([v4, v6].into_iter(), &[1, 2]).score(7, 1),
            4_601_347_081_532_792_441
        );
    }
}
