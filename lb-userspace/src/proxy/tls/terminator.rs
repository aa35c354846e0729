//! TLS towards clients: configurations from a port's options, and the handshake.

use std::{io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    server::{
        ClientHello, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    version,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::{
    certificates::{
        CertificateError, CertificateStore, Resolver, SelfSigned, Subject, provider, read_chain,
    },
    client_hello::{self, Hello},
    handshake_stats::{HandshakeFailure, HandshakeStats},
    plaintext,
    session_tickets::Tickets,
};
use crate::proxy::{http::headers::HeaderNames, net::relay::RelayStream};
use crate::service::{ClientAuth, TlsOptions, TlsVersion};

/// In ALPN (RFC 7301 6, RFC 9113 3.1).
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What a port with a `tls` handler shows its clients.
pub(crate) struct Terminator {
    offers: Offers,
    resolver: Arc<Resolver>,
    /// Whether and how clients have to show who they are.
    pub client_auth: Option<ClientAuth>,
    /// Servers are told of it.
    pub forwards_client_cert: bool,
}

/// Which protocols are offered by ALPN.
enum Offers {
    /// Those that are configured. A client that asks for others alone is refused.
    Fixed(Arc<ServerConfig>),
    /// What the servers speak, who get the bytes as they are. A client that asks for what we do not
    /// know goes on without: its servers may.
    ByServers { h2: Arc<ServerConfig>, http1: Arc<ServerConfig>, none: Arc<ServerConfig> },
}

/// What a client that names a host may be served by.
pub(crate) trait TlsSite {
    fn terminator(&self) -> Option<&Terminator>;

    /// Whether all servers that may get a connection are known to speak HTTP/2 without TLS.
    fn speaks_h2c(&self) -> bool;
}

/// Makes one [`Terminator`] for each distinct set of options.
#[derive(Clone)]
pub(crate) struct Terminators {
    certificates: Arc<CertificateStore>,
    ticket_rotation: Duration,
    made: Vec<(TlsOptions, Arc<Terminator>)>,
}

impl Terminators {
    pub(crate) fn new(certificates: Arc<CertificateStore>, ticket_rotation: Duration) -> Self {
        Self { certificates, ticket_rotation, made: Vec::new() }
    }

    /// Forgets those that nobody uses.
    pub(crate) fn forget_unused(&mut self) {
        self.made.retain(|(_, made)| Arc::strong_count(made) > 1);
    }

    pub(crate) fn terminator(
        &mut self,
        options: &TlsOptions,
    ) -> Result<Arc<Terminator>, CertificateError> {
        if let Some((_, made)) = self.made.iter().find(|(with, _)| with == options) {
            return Ok(made.clone());
        }
        let made = Arc::new(self.make(options)?);
        self.made.push((options.clone(), made.clone()));
        Ok(made)
    }

    fn make(&self, options: &TlsOptions) -> Result<Terminator, CertificateError> {
        let self_signed = options.default_self_signed.then(SelfSigned::shared).transpose()?;
        let versions: Vec<_> = options.versions.iter().map(|&it| supported(it)).collect();
        let suites = provider().cipher_suites.into_iter();
        let suites = suites.filter(|suite| versions.contains(&suite.version())).collect();
        let resolver = Arc::new(Resolver::new(self.certificates.clone(), self_signed, suites));
        let mut config = configure(options, &versions, resolver.clone())?;
        config.ticketer = match options.client_auth {
            // A ticket stands for what was verified when it was given out: one from a port that
            // asks for no certificate must not open a port that does.
            Some(_) => Tickets::new(self.ticket_rotation)?,
            None => Tickets::shared(self.ticket_rotation)?,
        };
        Ok(Terminator {
            offers: Offers::new(config, options.alpn_by_servers),
            resolver,
            client_auth: options.client_auth.clone(),
            forwards_client_cert: options.forward_client_cert,
        })
    }
}

impl Offers {
    fn new(config: ServerConfig, is_by_servers: bool) -> Self {
        if !is_by_servers {
            return Self::Fixed(Arc::new(config));
        }
        let with = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Self::ByServers { h2: with(&[H2]), http1: with(&[HTTP_1_1]), none: with(&[]) }
    }

    fn to(&self, hello: &ClientHello<'_>, site: &impl TlsSite) -> &Arc<ServerConfig> {
        let asks = |name: &[u8]| hello.alpn().is_some_and(|mut asked| asked.any(|it| it == name));
        match self {
            Self::Fixed(config) => config,
            Self::ByServers { h2, .. } if asks(H2) && site.speaks_h2c() => h2,
            Self::ByServers { http1, .. } if asks(HTTP_1_1) => http1,
            Self::ByServers { none, .. } => none,
        }
    }
}

impl Terminator {
    /// Returns how to go on with a client of `site` that connected to `address`. `None`: there is
    /// no certificate for it.
    fn config(
        &self,
        hello: &ClientHello<'_>,
        address: IpAddr,
        site: &impl TlsSite,
    ) -> Option<Arc<ServerConfig>> {
        let subject = hello.server_name().map_or(Subject::Address(address), Subject::Name);
        if !self.resolver.covers(subject) {
            return None;
        }
        let config = self.offers.to(hello, site);
        Some(match subject {
            Subject::Name(_) => config.clone(),
            Subject::Address(address) => {
                let mut config = ServerConfig::clone(config);
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
) -> Result<ServerConfig, CertificateError> {
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
pub fn examine_client_ca(path: &Path) -> Option<CertificateError> {
    verifier(&ClientAuth { ca: path.to_owned(), is_required: true }).err()
}

fn verifier(auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let path: &Path = &auth.ca;
    let unusable = |reason: String| CertificateError::ClientCa { path: path.to_owned(), reason };
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
pub(crate) type SecuredStream = Box<TlsStream<TcpStream>>;

/// Completes the handshake with a client that connected to `address`, as it sees it, and returns
/// what `find` found for the name that it sent in SNI. A name for which there is nothing, or no
/// certificate, gets the alert `unrecognized_name`. HTTP without TLS is answered under `names`.
pub(crate) async fn accept<S: TlsSite>(
    stream: TcpStream,
    find: impl FnOnce(Option<&str>) -> Option<S>,
    address: IpAddr,
    handshakes: &Arc<HandshakeStats>,
    names: &HeaderNames,
) -> io::Result<(SecuredStream, S)> {
    let handshake = handshakes.begin();
    let start = match client_hello::read(stream).await {
        Ok(Hello::Tls(start)) => start,
        Ok(Hello::Plain(stream, begun)) => {
            handshake.fail(HandshakeFailure::NotTls);
            plaintext::refuse(stream, begun, names).await?;
            return Err(io::Error::other("plain text where TLS is expected"));
        }
        Err(error) => {
            handshake.fail(HandshakeFailure::classify(&error));
            return Err(error);
        }
    };
    match shake(start, find, address).await {
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

async fn shake<S: TlsSite>(
    mut start: StartHandshake<TcpStream>,
    find: impl FnOnce(Option<&str>) -> Option<S>,
    address: IpAddr,
) -> Result<(SecuredStream, S), (HandshakeFailure, io::Error)> {
    let classified = |error| (HandshakeFailure::classify(&error), error);
    let hello = start.client_hello();
    let found = find(hello.server_name()).and_then(|site| {
        let config = site.terminator()?.config(&hello, address, &site)?;
        Some((site, config))
    });
    let Some((site, config)) = found else {
        let error = io::Error::other("no site or certificate for the name asked for");
        // The alert is a courtesy.
        let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
        let _ = start.io.shutdown().await;
        return Err((HandshakeFailure::UnrecognizedName, error));
    };
    Ok((Box::new(start.into_stream(config).await.map_err(classified)?), site))
}

impl RelayStream for SecuredStream {
    fn carrier(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}
