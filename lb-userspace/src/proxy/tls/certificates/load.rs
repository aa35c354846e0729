//! A certificate and its key, from PEM.

use std::{collections::BTreeSet, net::IpAddr, path::Path, sync::Arc};

use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::{error::CertificateError, validity::Validity};
use crate::settings::CertificateFiles;

pub(crate) type Key = Arc<CertifiedKey>;

/// A pair that is sound.
pub(crate) struct Loaded {
    pub key: Key,
    pub subjects: Subjects,
    pub validity: Validity,
}

/// What a certificate answers for, by its subjectAltName.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subjects {
    pub names: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
}

impl Subjects {
    /// Names, then addresses, as text.
    pub(crate) fn shown(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.names.iter().cloned().chain(addresses).collect()
    }
}

/// A certificate that answers for nothing is good as the default one only.
pub(crate) fn load(pair: &CertificateFiles, is_default: bool) -> Result<Loaded, CertificateError> {
    let key = load_pair(pair)?;
    let subjects = subjects(&key, &pair.cert)?;
    if subjects == Subjects::default() && !is_default {
        return Err(CertificateError::Nameless(pair.cert.clone()));
    }
    let validity = Validity::of(&key.cert).ok_or_else(|| CertificateError::Malformed {
        path: pair.cert.clone(),
        reason: "a certificate of its chain cannot be read".to_owned(),
    })?;
    Ok(Loaded { key: Arc::new(key), subjects, validity })
}

/// All certificates in a file, at least one.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|cause| CertificateError::Pem {
            what: "certificates",
            path: path.to_owned(),
            cause,
        })?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(path.to_owned()));
    }
    Ok(chain)
}

fn load_pair(pair: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let chain = read_chain(&pair.cert)?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|cause| CertificateError::Pem {
        what: "a key",
        path: pair.key.clone(),
        cause,
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch(pair.clone()),
        cause => CertificateError::Unusable { path: pair.key.clone(), cause },
    })
}

fn subjects(key: &CertifiedKey, path: &Path) -> Result<Subjects, CertificateError> {
    let malformed = |reason: String| CertificateError::Malformed { path: path.to_owned(), reason };
    let leaf = webpki::EndEntityCert::try_from(&key.cert[0]);
    let leaf = leaf.map_err(|error| malformed(error.to_string()))?;
    let names = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let parsed = X509Certificate::from_der(&key.cert[0]);
    let (_, parsed) = parsed.map_err(|error| malformed(error.to_string()))?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|found| &found.value.general_names);
    let addresses = alternatives.filter_map(|name| match name {
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    });
    Ok(Subjects { names, addresses: addresses.collect() })
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let address = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    Some(address.to_canonical())
}

pub(crate) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}
