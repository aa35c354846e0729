//! Server ids in QUIC connection IDs.

use std::net::{IpAddr, SocketAddr};

use super::splitmix::mix;

/// Returns the id of a server without a configured one: `length` bytes (1 to 15) of a hash of its
/// address and port.
///
/// It depends on nothing else and never changes, so that every node and every version agree, and
/// servers can be told their ids.
#[must_use]
pub fn default_server_id(server: SocketAddr, length: u8) -> Box<[u8]> {
    let address = match server.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let words = [(address >> 64) as u64, address as u64, server.port().into()];
    let first = words.into_iter().fold(0, |hash, word| mix(hash ^ word));
    let hash = u128::from(first) << 64 | u128::from(mix(first));
    hash.to_be_bytes()[..usize::from(length.min(15))].into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_never_changes() {
        let id = |server: &str, length| default_server_id(server.parse().unwrap(), length);
        let long = id("10.0.0.1:443", 15);
        assert_eq!(long.len(), 15);
        assert_eq!(*id("10.0.0.1:443", 2), long[..2]);
        assert_eq!(*id("10.0.0.1:443", 4), [0xf4, 0x1f, 0x1b, 0xf2]);
    }

    #[test]
    fn neighbours_have_different_ids() {
        let servers = (0..=255).map(|n| SocketAddr::from(([10, 0, 0, n], 443)));
        let ids: HashSet<_> = servers.map(|server| default_server_id(server, 4)).collect();
        assert_eq!(ids.len(), 256);
    }
}
