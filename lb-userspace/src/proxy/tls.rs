//! TLS towards clients: configurations from a port's options, and the handshake.

use std::{io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    certificates::{CertificateStore, Error, Resolver, SelfSigned, Subject, provider, read_chain},
    handshakes::{Handshakes, Kind},
    routes::{Frontend, Site},
    tickets::Tickets,
};
use crate::service::{ClientAuth, TlsOptions, TlsVersion};

/// What a port with a `tls` handler shows its clients.
pub(super) struct Terminator {
    config: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    /// Whether and how clients have to show who they are.
    pub client_auth: Option<ClientAuth>,
}

/// Makes one [`Terminator`] for each distinct set of options.
pub(super) struct Terminators {
    certificates: Arc<CertificateStore>,
    ticket_rotation: Duration,
    made: Vec<(TlsOptions, Arc<Terminator>)>,
}

impl Terminators {
    pub fn new(certificates: Arc<CertificateStore>, ticket_rotation: Duration) -> Self {
        Self { certificates, ticket_rotation, made: Vec::new() }
    }

    pub fn terminator(&mut self, options: &TlsOptions) -> Result<Arc<Terminator>, Error> {
        if let Some((_, made)) = self.made.iter().find(|(with, _)| with == options) {
            return Ok(made.clone());
        }
        let made = Arc::new(self.make(options)?);
        self.made.push((options.clone(), made.clone()));
        Ok(made)
    }

    fn make(&self, options: &TlsOptions) -> Result<Terminator, Error> {
        let self_signed = options.default_self_signed.then(SelfSigned::shared).transpose()?;
        let versions: Vec<_> = options.versions.iter().map(|&it| supported(it)).collect();
        let suites = provider().cipher_suites.into_iter();
        let suites = suites.filter(|suite| versions.contains(&suite.version())).collect();
        let resolver = Arc::new(Resolver::new(self.certificates.clone(), self_signed, suites));
        let mut config = configure(options, &versions, resolver.clone())?;
        config.ticketer = match options.client_auth {
            // A ticket stands for what was verified when it was given out: one from a port that asks
            // for no certificate must not open a port that does.
            Some(_) => Tickets::new(self.ticket_rotation)?,
            None => Tickets::shared(self.ticket_rotation)?,
        };
        Ok(Terminator {
            config: Arc::new(config),
            resolver,
            client_auth: options.client_auth.clone(),
        })
    }
}

impl Terminator {
    /// For a client that asks for `subject`. `None`: there is no certificate for it.
    fn config(&self, subject: Subject<'_>) -> Option<Arc<ServerConfig>> {
        if !self.resolver.covers(subject) {
            return None;
        }
        Some(match subject {
            Subject::Name(_) => self.config.clone(),
            Subject::Address(address) => {
                let mut config = ServerConfig::clone(&self.config);
                config.cert_resolver = Arc::new(self.resolver.at(address));
                Arc::new(config)
            }
        })
    }
}

fn configure(
    options: &TlsOptions,
    versions: &[&'static SupportedProtocolVersion],
    resolver: Arc<Resolver>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .expect("aws-lc-rs has suites for TLS 1.2 and 1.3, and options name at least one");
    let builder = match &options.client_auth {
        Some(auth) => builder.with_client_cert_verifier(verifier(auth)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = options.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Sessions live in tickets; a store in memory would be a lock shared by the workers.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Why clients cannot be verified by the authorities in `path`.
pub fn examine_client_ca(path: &Path) -> Option<Error> {
    verifier(&ClientAuth { ca: path.to_owned(), is_required: true }).err()
}

fn verifier(auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let path: &Path = &auth.ca;
    let unusable = |reason: String| Error::ClientCa { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
    let builder = if auth.is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(error.to_string()))
}

fn supported(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V1_2 => &version::TLS12,
        TlsVersion::V1_3 => &version::TLS13,
    }
}

/// Alert record `unrecognized_name`, fatal (RFC 8446 6, RFC 6066 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A client's stream after the handshake. Boxed: it is more than a kilobyte, and changes hands.
pub(super) type Secured = Box<TlsStream<TcpStream>>;

/// The handshake, with a client that connected to `address` as it sees it. The site is the one that the
/// client named by SNI; a name that no site or no certificate answers for gets the alert
/// `unrecognized_name`.
pub(super) async fn accept(
    stream: TcpStream,
    frontend: &Frontend,
    address: IpAddr,
    handshakes: &Arc<Handshakes>,
) -> io::Result<(Secured, Arc<Site>)> {
    let handshake = handshakes.begin();
    let result = shake(stream, frontend, address).await;
    match result {
        Ok(accepted) => {
            handshake.complete();
            Ok(accepted)
        }
        Err((kind, error)) => {
            handshake.fail(kind);
            Err(error)
        }
    }
}

async fn shake(
    stream: TcpStream,
    frontend: &Frontend,
    address: IpAddr,
) -> Result<(Secured, Arc<Site>), (Kind, io::Error)> {
    let classified = |error| (Kind::classify(&error), error);
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let mut start = start.await.map_err(classified)?;
    let hello = start.client_hello();
    let name = hello.server_name();
    let found = frontend.site(name).and_then(|site| {
        let terminator = site.terminator.as_ref()?;
        let subject = name.map_or(Subject::Address(address), Subject::Name);
        Some((site.clone(), terminator.config(subject)?))
    });
    let Some((site, config)) = found else {
        let error = io::Error::other("no site or certificate for the name asked for");
        // The alert is a courtesy.
        let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = start.io.shutdown().await;
        return Err((Kind::UnrecognizedName, error));
    };
    Ok((Box::new(start.into_stream(config).await.map_err(classified)?), site))
}
