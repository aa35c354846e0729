//! Why a certificate cannot be used.

use std::{io, path::PathBuf};

use rustls::pki_types::pem;

use crate::settings::CertificateFiles;

/// Its text has the cause in it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
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
    #[error("cannot make keys for session tickets")]
    Tickets,
}
