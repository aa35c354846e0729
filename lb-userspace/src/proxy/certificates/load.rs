//! A certificate and its key, from PEM.

use std::{path::Path, sync::Arc};

use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{Error, Key};
use crate::settings::CertificateFiles;

/// The key, and the DNS names that it answers for.
pub(super) fn load(pair: &CertificateFiles) -> Result<(Key, Vec<String>), Error> {
    let key = load_pair(pair)?;
    let names = dns_names(&key, &pair.cert)?;
    Ok((Arc::new(key), names))
}

/// All certificates in a file, at least one.
pub(in super::super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| Error::Pem { what: "certificates", path: path.to_owned(), cause })?;
    if chain.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    Ok(chain)
}

fn load_pair(pair: &CertificateFiles) -> Result<CertifiedKey, Error> {
    let chain = read_chain(&pair.cert)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|cause| Error::Pem {
        what: "a key",
        path: pair.key.clone(),
        cause,
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => Error::Mismatch(pair.clone()),
        cause => Error::Unusable { path: pair.key.clone(), cause },
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
pub(in super::super) fn self_signed(names: Vec<String>) -> Result<Key, Error> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone()];
    CertifiedKey::from_der(chain, key, &provider())
        .map(Arc::new)
        .map_err(|cause| Error::Unusable { path: "the self-signed certificate".into(), cause })
}

pub(in super::super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
