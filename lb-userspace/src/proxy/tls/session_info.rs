//! What is known of a TLS session, for those who ask afterwards.

use rustls::{CipherSuite, ProtocolVersion, ServerConnection, pki_types::CertificateDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest part, in bytes.
const LONGEST: usize = 255;

/// No part is longer than 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSession {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// In OpenSSL's spelling, which is what receivers of the PROXY protocol expect.
    pub cipher: Option<&'static str>,
    pub alpn: Option<Vec<u8>>,
    /// As the client sent it (SNI).
    pub server_name: Option<Box<str>>,
    /// The common name in the client's certificate, empty where it has none. `None`: no
    /// certificate.
    pub client_name: Option<Box<str>>,
}

impl TlsSession {
    /// After the handshake.
    pub(crate) fn of(connection: &ServerConnection) -> Self {
        let suite = connection.negotiated_cipher_suite();
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: suite.and_then(|suite| openssl_name(suite.suite())),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name: connection.server_name().map(Into::into),
            client_name: connection
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(common_name),
        }
    }
}

/// Empty where there is none, or one that nobody could mean.
fn common_name(certificate: &CertificateDer<'_>) -> Box<str> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return "".into();
    };
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    name.filter(|name| name.len() <= LONGEST).unwrap_or_default().into()
}

/// All suites that aws-lc-rs offers for TLS 1.2 and 1.3.
fn openssl_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_on_offer_has_a_name() {
        for suite in super::super::certificates::provider().cipher_suites {
            let name = openssl_name(suite.suite()).unwrap_or_else(|| panic!("{suite:?}"));
            assert!(!name.contains("_WITH_") && !name.starts_with("TLS13"), "{name}");
        }
    }
}
