//! The configuration of TLS at a port.

use std::{path::PathBuf, sync::Arc};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Protocol names in order of preference. Default: `h2`, `http/1.1`; for `Handler::PgTls`
    /// always `postgresql`.
    pub alpn: Vec<Arc<str>>,
    /// The protocols were not configured, and the servers speak them: `h2` counts only while they
    /// do.
    pub alpn_by_servers: bool,
    /// At least one. Default: both.
    pub versions: Vec<TlsVersion>,
    /// Serve a self-signed certificate if none is configured for the name.
    pub default_self_signed: bool,
    /// Request client certificates. Default: no.
    pub client_auth: Option<ClientAuth>,
    /// Forward client certificates to servers in a header. Only with `Handler::Http`.
    pub forward_client_cert: bool,
}

/// Which client certificates are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM file with the certificate authorities that may have issued them.
    pub ca: PathBuf,
    /// Refuse clients without a certificate. An invalid one is refused in any case.
    pub is_required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}
