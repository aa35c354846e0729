//! Certificates from files, and which of them answers for a name.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    SignatureAlgorithm,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::names::ByName;
use crate::settings::CertificateFiles;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {what} from {path}: {source}", path = path.display())]
    Pem { what: &'static str, path: PathBuf, source: pem::Error },
    #[error("{path} contains no certificate (expected PEM, leaf first)", path = .0.display())]
    Empty(PathBuf),
    #[error("cannot use {path}: {source}", path = path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("{key} is not the key of {cert}", key = .0.key.display(), cert = .0.cert.display())]
    Mismatch(CertificateFiles),
    #[error("{path} is not a certificate: {reason}", path = path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{path} names no host: it needs a DNS name in subjectAltName", path = .0.display())]
    Nameless(PathBuf),
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

type Key = Arc<CertifiedKey>;

/// The configured certificates by the DNS names in their subjectAltName.
#[derive(Default)]
pub(super) struct Certificates {
    /// ECDSA first: it signs many times faster, and RSA remains for clients without it.
    by_name: ByName<Vec<Key>>,
}

impl Certificates {
    pub fn load(files: &[CertificateFiles]) -> Result<Self, Error> {
        let mut certificates = Self::default();
        for pair in files {
            let key = Arc::new(load_pair(pair)?);
            for name in dns_names(&key, &pair.cert)? {
                let keys = certificates.by_name.entry(Some(&name)).or_insert_with(Vec::new);
                keys.push(key.clone());
                keys.sort_by_key(|key| key.key.algorithm() != SignatureAlgorithm::ECDSA);
            }
        }
        Ok(certificates)
    }

    fn find(&self, name: Option<&str>) -> &[Key] {
        self.by_name.find_one_label(name).map_or(&[], Vec::as_slice)
    }
}

fn load_pair(pair: &CertificateFiles) -> Result<CertifiedKey, Error> {
    let in_file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Pem { what, path, source }
    };
    let chain = CertificateDer::pem_file_iter(&pair.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(in_file("certificates", &pair.cert))?;
    if chain.is_empty() {
        return Err(Error::Empty(pair.cert.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(in_file("a key", &pair.key))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => Error::Mismatch(pair.clone()),
        source => Error::Unusable { path: pair.key.clone(), source },
    })
}

fn dns_names(key: &CertifiedKey, path: &Path) -> Result<Vec<String>, Error> {
    let leaf = webpki::EndEntityCert::try_from(&key.cert[0])
        .map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() })?;
    let names: Vec<_> = leaf.valid_dns_names().map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::Nameless(path.to_owned()));
    }
    Ok(names)
}

/// A throw-away certificate for `names`, for ports with `default_self_signed`.
pub(super) fn self_signed(names: Vec<String>) -> Result<Key, Error> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    CertifiedKey::from_der(chain, key, &provider())
        .map(Arc::new)
        .map_err(|source| Error::Unusable { path: "the self-signed certificate".into(), source })
}

pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// Picks the certificate for a handshake.
pub(super) struct Resolver {
    certificates: Arc<Certificates>,
    /// For names without a certificate.
    fallback: Option<Key>,
}

impl Resolver {
    pub fn new(certificates: Arc<Certificates>, fallback: Option<Key>) -> Self {
        Self { certificates, fallback }
    }

    /// Whether a client that asks for `name` gets any certificate.
    pub fn covers(&self, name: Option<&str>) -> bool {
        self.fallback.is_some() || !self.certificates.find(name).is_empty()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Key> {
        let keys = self.certificates.find(hello.server_name());
        let usable = |key: &&Key| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(usable).or(keys.first()).or(self.fallback.as_ref()).cloned()
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}
