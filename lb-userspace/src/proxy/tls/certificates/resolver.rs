//! The certificate that a client is shown.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    SupportedCipherSuite,
    server::{ClientHello, ResolvesServerCert},
};

use super::{load::Key, self_signed::SelfSigned, store::CertificateStore, subject::Subject};

/// Picks the certificate for a handshake.
#[derive(Clone)]
pub(crate) struct Resolver {
    certificates: Arc<CertificateStore>,
    /// For those without a certificate.
    self_signed: Option<Arc<SelfSigned>>,
    /// What the port may agree on.
    suites: Vec<SupportedCipherSuite>,
    /// Where the client connected to, if it sends no name.
    address: Option<IpAddr>,
}

impl Resolver {
    pub(crate) fn new(
        certificates: Arc<CertificateStore>,
        self_signed: Option<Arc<SelfSigned>>,
        suites: Vec<SupportedCipherSuite>,
    ) -> Self {
        Self { certificates, self_signed, suites, address: None }
    }

    /// The same for one client that sends no name.
    pub(crate) fn at(&self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self.clone() }
    }

    /// Whether a client that asks for `subject` gets any certificate.
    pub(crate) fn covers(&self, subject: Subject<'_>) -> bool {
        self.self_signed.is_some() || !self.certificates.current().find(subject).is_empty()
    }

    /// Whether the client could take a signature by `key` in some suite that both have. In TLS 1.2
    /// the suite names the kind of key, whatever the client says of signatures.
    fn suits(&self, key: &Key, hello: &ClientHello<'_>) -> bool {
        let algorithm = key.key.algorithm();
        let offered = hello.cipher_suites();
        let mut common = self.suites.iter().filter(|suite| offered.contains(&suite.suite()));
        key.key.choose_scheme(hello.signature_schemes()).is_some()
            && common.any(|suite| suite.usable_for_signature_algorithm(algorithm))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Key> {
        let subject = match hello.server_name() {
            Some(name) => Subject::Name(name),
            None => Subject::Address(self.address?),
        };
        let current = self.certificates.current();
        let keys = current.find(subject);
        let suitable = keys.iter().find(|key| self.suits(key, &hello));
        let self_signed = || self.self_signed.as_ref()?.find(subject);
        suitable.or(keys.first()).cloned().or_else(self_signed)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}
