//! The configured certificates at a start.

use std::sync::Arc;

use ::tracing::error;

use crate::{proxy::CertificateStore, settings::CertificateSource};

/// Goes on without those that are not sound, and says so.
pub(crate) fn open_certificates(sources: &[CertificateSource]) -> Arc<CertificateStore> {
    let (certificates, unsound) = CertificateStore::open(sources);
    for error in unsound {
        error!(%error, "going on without this certificate: TLS clients of its names are refused");
    }
    certificates
}
