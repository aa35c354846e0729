//! TLS towards clients: configurations from a port's options, and the handshake.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::Ticketer,
    server::{Acceptor, NoServerSessionStorage, ProducesTickets},
    version,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    certificates::{self, Certificates, Resolver, provider, self_signed},
    routes::{Frontend, Site},
};
use crate::service::{TlsOptions, TlsVersion};

/// What a port with a `tls` handler shows its clients.
pub(super) struct Terminator {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
}

/// One ticket key for all workers and configurations: a client may resume on any worker, and a
/// reload does not cost everybody a full handshake.
static TICKETER: LazyLock<Option<Arc<dyn ProducesTickets>>> =
    LazyLock::new(|| match Ticketer::new() {
        Ok(ticketer) => Some(ticketer),
        Err(error) => {
            tracing::warn!(%error, "no TLS session tickets");
            None
        }
    });

/// Makes one [`Terminator`] for each distinct set of options.
pub(super) struct Terminators {
    certificates: Arc<Certificates>,
    /// Names in the self-signed certificate.
    names: Vec<String>,
    made: Vec<(TlsOptions, Arc<Terminator>)>,
}

impl Terminators {
    pub fn new(certificates: Certificates, names: Vec<String>) -> Self {
        Self { certificates: Arc::new(certificates), names, made: Vec::new() }
    }

    pub fn terminator(
        &mut self,
        options: &TlsOptions,
    ) -> Result<Arc<Terminator>, certificates::Error> {
        if let Some((_, made)) = self.made.iter().find(|(with, _)| with == options) {
            return Ok(made.clone());
        }
        let fallback =
            options.default_self_signed.then(|| self_signed(self.names.clone())).transpose()?;
        let resolver = Arc::new(Resolver::new(self.certificates.clone(), fallback));
        let made = Arc::new(Terminator {
            config: Arc::new(configure(options, resolver.clone())),
            resolver,
        });
        self.made.push((options.clone(), made.clone()));
        Ok(made)
    }
}

fn configure(options: &TlsOptions, resolver: Arc<Resolver>) -> ServerConfig {
    let versions: Vec<_> = options.versions.iter().map(|&v| supported(v)).collect();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&versions)
        .expect("aws-lc-rs has suites for TLS 1.2 and 1.3, and options name at least one")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = options.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Sessions live in tickets; a store in memory would be a lock shared by the workers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if let Some(ticketer) = TICKETER.as_ref() {
        config.ticketer = ticketer.clone();
    }
    config
}

fn supported(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V1_2 => &version::TLS12,
        TlsVersion::V1_3 => &version::TLS13,
    }
}

/// Alert record `unrecognized_name`, fatal (RFC 8446 6, RFC 6066 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The handshake. The site is the one that the client named by SNI; a name that no site or no
/// certificate answers for gets the alert `unrecognized_name`.
pub(super) async fn accept(
    stream: TcpStream,
    frontend: &Frontend,
) -> io::Result<(TlsStream<TcpStream>, Arc<Site>)> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = start.client_hello();
    let name = hello.server_name();
    let found = frontend.site(name).and_then(|site| {
        let terminator = site.terminator.as_ref()?;
        let covered = terminator.resolver.covers(name);
        covered.then(|| (site.clone(), terminator.config.clone()))
    });
    let Some((site, config)) = found else {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Err(io::Error::other("no site or certificate for the name asked for"));
    };
    Ok((start.into_stream(config).await?, site))
}
