//! Files that a configuration names.

use std::path::PathBuf;

use crate::settings::CertificateSource;

/// Files that a configuration names, and that the daemon reads when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedFile {
    Certificates(CertificateSource),
    ClientCa(PathBuf),
}
