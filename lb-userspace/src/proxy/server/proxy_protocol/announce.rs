//! The header that tells a backend who its client is.

use std::net::{IpAddr, SocketAddr};

use hyper::body::Bytes;
use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::{
    proxy::{net::endpoints::Endpoints, tls::session_info::TlsSession},
    service::ProxyProtocol,
};

/// Returns the header that tells a backend of a connection, where it wants one. Version 2 has room
/// for what is known of a TLS `session`.
pub(crate) fn announce(
    version: Option<ProxyProtocol>,
    endpoints: &Endpoints,
    session: Option<&TlsSession>,
) -> Bytes {
    let Some(version) = version else { return Bytes::new() };
    let address = in_one_family(endpoints.client, endpoints.server);
    let address = ProxiedAddress::stream(address.0, address.1);
    let mut bytes = Vec::with_capacity(256);
    match version {
        ProxyProtocol::V1 => ProxyHeader::with_address(address).encode_v1(&mut bytes),
        ProxyProtocol::V2 => {
            let facts = session.map(facts).unwrap_or_default();
            ProxyHeader::with_tlvs(Some(address), facts).encode_v2(&mut bytes)
        }
    }
    .expect("one family, TCP, and facts of at most 255 bytes each");
    bytes.into()
}

/// The header names one family for both addresses; a proxy in front of us may have mixed them.
fn in_one_family(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    if client.is_ipv4() == server.is_ipv4() {
        return (client, server);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V6(_) => address,
    };
    (mapped(client), mapped(server))
}

fn facts(session: &TlsSession) -> Vec<Tlv<'_>> {
    let has_certificate = session.client_name.is_some();
    // We ask for a certificate only to verify it, and end the handshake if that fails.
    let unverified = u32::from(!has_certificate);
    let mut ssl = SslInfo::new(true, has_certificate, has_certificate, unverified);
    ssl.append_tlv(Tlv::SslVersion(session.version.into()));
    if let Some(name) = session.client_name.as_deref().filter(|name| !name.is_empty()) {
        ssl.append_tlv(Tlv::SslCn(name.into()));
    }
    if let Some(cipher) = session.cipher {
        ssl.append_tlv(Tlv::SslCipher(cipher.into()));
    }
    let alpn = session.alpn.as_deref().map(|name| Tlv::Alpn(name.into()));
    let authority = session.server_name.as_deref().map(|name| Tlv::Authority(name.into()));
    alpn.into_iter().chain(authority).chain([Tlv::Ssl(ssl)]).collect()
}
