//! A TLS client that never resumes a session and believes any certificate.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::origin::SMALL;
use crate::lab::process::PATIENCE;

pub(super) type Connection = StreamOwned<ClientConnection, TcpStream>;

pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    pub(super) fn new() -> Result<Self> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// A new connection, a whole handshake, and one request answered. `last` closes it.
    pub(super) fn visit(&self, to: SocketAddr, last: bool) -> Result<Connection> {
        let tcp = TcpStream::connect_timeout(&to, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::from(to.ip());
        let mut tls = StreamOwned::new(ClientConnection::new(self.0.clone(), name)?, tcp);
        let connection = if last { "close" } else { "keep-alive" };
        let request =
            format!("GET {SMALL} HTTP/1.1\r\nHost: bench\r\nConnection: {connection}\r\n\r\n");
        tls.write_all(request.as_bytes())?;
        let mut answer = [0; 2048];
        let length = tls.read(&mut answer)?;
        ensure!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{:?}", &answer[..length]);
        Ok(tls)
    }
}

/// The bench is not about trust.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
