//! Opens the configured certificates when the daemon starts.

use std::sync::Arc;

use ::tracing::error;

use crate::{proxy::CertificateStore, settings::CertificateSource};

/// Opens the store of certificates. Unsound ones are logged and left out.
pub(crate) fn open_certificates(sources: &[CertificateSource]) -> Arc<CertificateStore> {
    let (certificates, unsound) = CertificateStore::open(sources);
    for error in unsound {
        error!(%error, "going on without this certificate: TLS clients of its names are refused");
    }
    certificates
}
