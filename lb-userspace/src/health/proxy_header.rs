//! Encodes the PROXY protocol header of a check.

use std::net::SocketAddr;

use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::service::ProxyProtocol;

/// Version 2 has the command LOCAL for connections of the proxy's own (haproxy/haproxy#511). In
/// version 1 the check is its own client: receivers that do not know UNKNOWN accept its addresses,
/// which are true.
pub(super) fn encode(version: ProxyProtocol, ends: [SocketAddr; 2]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    match version {
        ProxyProtocol::V1 => {
            let address = ProxiedAddress::stream(ends[0], ends[1]);
            ProxyHeader::with_address(address).encode_v1(&mut bytes)
        }
        ProxyProtocol::V2 => ProxyHeader::with_local().encode_v2(&mut bytes),
    }
    .expect("both ends of a TCP connection are of one family");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, 2.1 and 2.2.
    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let ends = ["10.0.0.1:4000", "10.0.0.2:80"].map(|end| end.parse().unwrap());
        assert_eq!(encode(ProxyProtocol::V1, ends), b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\n");
        let v6 = ["[fd00::1]:4000", "[fd00::2]:80"].map(|end| end.parse().unwrap());
        assert_eq!(encode(ProxyProtocol::V1, v6), b"PROXY TCP6 fd00::1 fd00::2 4000 80\r\n");
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
        assert_eq!(encode(ProxyProtocol::V2, ends), local);
    }
}
