//! Certificates from files and directories, and which of them answers for a name.

mod directory;
mod load;
mod store;

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    SignatureAlgorithm, SupportedCipherSuite,
    pki_types::pem,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

pub(super) use self::load::{provider, read_chain, self_signed};
pub use self::store::CertificateStore;
use super::names::ByName;
use crate::settings::CertificateFiles;

/// Its text has the cause in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {what} from {path}: {cause}", path = path.display())]
    Pem { what: &'static str, path: PathBuf, cause: pem::Error },
    #[error("cannot read the directory {path}: {cause}", path = path.display())]
    Directory { path: PathBuf, cause: io::Error },
    #[error("{path} contains no certificate (expected PEM, leaf first)", path = .0.display())]
    Empty(PathBuf),
    #[error("cannot use {path}: {cause}", path = path.display())]
    Unusable { path: PathBuf, cause: rustls::Error },
    #[error("{key} is not the key of {cert}", key = .0.key.display(), cert = .0.cert.display())]
    Mismatch(CertificateFiles),
    #[error("{path} is not a certificate: {reason}", path = path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{path} names no host: it needs a DNS name in subjectAltName", path = .0.display())]
    Nameless(PathBuf),
    #[error("cannot verify clients by {path}: {reason}", path = path.display())]
    ClientCa { path: PathBuf, reason: String },
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    #[error("cannot make keys for session tickets: {0}")]
    Tickets(rustls::Error),
}

type Key = Arc<CertifiedKey>;

/// Certificates by the DNS names in their subjectAltName.
#[derive(Default)]
pub(super) struct Certificates {
    /// ECDSA first: it signs many times faster, and RSA remains for clients without it.
    by_name: ByName<Vec<Key>>,
}

impl Certificates {
    fn new<'a>(loaded: impl Iterator<Item = &'a (Key, Vec<String>)>) -> Self {
        let mut certificates = Self::default();
        for (key, names) in loaded {
            for name in names {
                let keys = certificates.by_name.entry(Some(name)).or_insert_with(Vec::new);
                keys.push(key.clone());
                keys.sort_by_key(|key| key.key.algorithm() != SignatureAlgorithm::ECDSA);
            }
        }
        certificates
    }

    fn find(&self, name: Option<&str>) -> &[Key] {
        self.by_name.find_one_label(name).map_or(&[], Vec::as_slice)
    }
}

/// Picks the certificate for a handshake.
pub(super) struct Resolver {
    certificates: Arc<CertificateStore>,
    /// For names without a certificate.
    fallback: Option<Key>,
    /// What the port may agree on.
    suites: Vec<SupportedCipherSuite>,
}

impl Resolver {
    pub fn new(
        certificates: Arc<CertificateStore>,
        fallback: Option<Key>,
        suites: Vec<SupportedCipherSuite>,
    ) -> Self {
        Self { certificates, fallback, suites }
    }

    /// Whether a client that asks for `name` gets any certificate.
    pub fn covers(&self, name: Option<&str>) -> bool {
        self.fallback.is_some() || !self.certificates.current().find(name).is_empty()
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
        let current = self.certificates.current();
        let keys = current.find(hello.server_name());
        let suitable = keys.iter().find(|key| self.suits(key, &hello));
        suitable.or(keys.first()).or(self.fallback.as_ref()).cloned()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}
