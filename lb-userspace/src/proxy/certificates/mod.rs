//! Certificates from files and directories, and which of them answers for a name.

mod directory;
mod load;
mod self_signed;
mod store;
mod validity;

use std::{collections::HashMap, io, net::IpAddr, path::PathBuf, sync::Arc};

use rustls::{
    SignatureAlgorithm, SupportedCipherSuite,
    pki_types::pem,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use self::load::{Loaded, Subjects};
pub(super) use self::{
    load::{provider, read_chain},
    self_signed::SelfSigned,
};
pub use self::{
    store::{CertificateStore, Held},
    validity::Validity,
};
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
    #[error("{path} names no host: it needs a DNS name or an address in subjectAltName, \
         unless it is the default certificate", path = .0.display())]
    Nameless(PathBuf),
    #[error("cannot verify clients by {path}: {reason}", path = path.display())]
    ClientCa { path: PathBuf, reason: String },
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    #[error("cannot make keys for session tickets: {0}")]
    Tickets(rustls::Error),
}

type Key = Arc<CertifiedKey>;

/// Certificates by what is in their subjectAltName. Of several for the same, ECDSA comes first: it
/// signs many times faster, and RSA remains for clients without it.
#[derive(Default)]
pub(super) struct Certificates {
    by_name: ByName<Vec<Key>>,
    by_address: HashMap<IpAddr, Vec<Key>>,
    /// For clients that send no name, at addresses that no certificate has.
    default: Vec<Key>,
}

impl Certificates {
    /// Each with whether it is marked as the default one. Where none is, the only one there is takes
    /// its place: all that answer for the same are one.
    fn new(loaded: &[(&Loaded, bool)]) -> Self {
        let mut certificates = Self::default();
        for (Loaded { key, subjects, .. }, _) in loaded {
            for name in &subjects.names {
                let keys = certificates.by_name.entry(Some(name)).or_insert_with(Vec::new);
                keys.push(key.clone());
            }
            for &address in &subjects.addresses {
                certificates.by_address.entry(address).or_default().push(key.clone());
            }
        }
        if let Some(subjects) = default(loaded) {
            let same = loaded.iter().filter(|(it, _)| it.subjects == *subjects);
            certificates.default = same.map(|(it, _)| it.key.clone()).collect();
        }
        let by_address = certificates.by_address.values_mut();
        let lists = certificates.by_name.values_mut().chain(by_address);
        for keys in lists.chain([&mut certificates.default]) {
            keys.sort_by_key(|key| key.key.algorithm() != SignatureAlgorithm::ECDSA);
        }
        certificates
    }

    fn find(&self, subject: Subject<'_>) -> &[Key] {
        match subject {
            Subject::Name(name) => self.of_name(name),
            Subject::Address(address) => self.of_address(address),
        }
    }

    fn of_name(&self, name: &str) -> &[Key] {
        self.by_name.find_one_label(Some(name)).map_or(&[], Vec::as_slice)
    }

    /// For a client that sent no name, and connected to `address`.
    fn of_address(&self, address: IpAddr) -> &[Key] {
        self.by_address.get(&address).unwrap_or(&self.default)
    }
}

fn default<'a>(loaded: &[(&'a Loaded, bool)]) -> Option<&'a Subjects> {
    let marked = loaded.iter().find(|(_, is_default)| *is_default);
    let only = || {
        let (first, rest) = loaded.split_first()?;
        rest.iter().all(|(it, _)| it.subjects == first.0.subjects).then_some(first)
    };
    marked.or_else(only).map(|(it, _)| &it.subjects)
}

/// What a client asks for a certificate for.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// The name that it sent (SNI).
    Name(&'a str),
    /// Where it connected to. It sent no name, or an address as one, which is not allowed
    /// (RFC 6066 3) and overlooked.
    Address(IpAddr),
}

/// Picks the certificate for a handshake.
#[derive(Clone)]
pub(super) struct Resolver {
    certificates: Arc<CertificateStore>,
    /// For those without a certificate.
    self_signed: Option<Arc<SelfSigned>>,
    /// What the port may agree on.
    suites: Vec<SupportedCipherSuite>,
    /// Where the client connected to, if it sends no name.
    address: Option<IpAddr>,
}

impl Resolver {
    pub fn new(
        certificates: Arc<CertificateStore>,
        self_signed: Option<Arc<SelfSigned>>,
        suites: Vec<SupportedCipherSuite>,
    ) -> Self {
        Self { certificates, self_signed, suites, address: None }
    }

    /// The same for one client that sends no name.
    pub fn at(&self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self.clone() }
    }

    /// Whether a client that asks for `subject` gets any certificate.
    pub fn covers(&self, subject: Subject<'_>) -> bool {
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
