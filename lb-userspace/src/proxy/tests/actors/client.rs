//! Clients: what they send byte by byte, or hyper over TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    client::conn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::lab::PATIENCE;

/// A plain HTTP/1.1 client that sees every byte.
pub(crate) struct Raw<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

/// A response as it came over the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    /// In lower case, as received.
    pub head: String,
    pub body: String,
}

impl Reply {
    pub(crate) fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value)
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// Goes without a word that could be taken for the end of one side alone.
    pub(crate) fn vanish(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn over(stream: S) -> Self {
        let read = Vec::new();
        Self { stream, read }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The same where the other side may have ended; whether it still took the bytes.
    pub(crate) async fn send_to(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// `GET path` with further header lines, each ending in CRLF.
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nHost: app.example.com\r\n{headers}\r\n");
        self.send(request).await;
        self.reply().await
    }

    /// Reads one head, without a body.
    pub(crate) async fn head(&mut self) -> String {
        let end = self.find(b"\r\n\r\n").await;
        let head: Vec<_> = self.read.drain(..end).collect();
        String::from_utf8(head).unwrap().to_lowercase()
    }

    /// Reads a whole response by its framing.
    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let mut reply = Reply { head, body: String::new() };
        let body = match reply.header("content-length").map(|length| length.parse().unwrap()) {
            Some(length) => self.take(length).await,
            None if reply.header("transfer-encoding") == Some("chunked") => {
                let end = self.find(b"0\r\n").await;
                let rest = self.find_from(end - 2, b"\r\n\r\n").await;
                self.take(rest).await
            }
            None => vec![],
        };
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more().await, "ended after {:?}", self.read);
        }
        self.read.drain(..length).collect()
    }

    /// Everything until the other side ends. A reset is an end too.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    async fn find(&mut self, pattern: &[u8]) -> usize {
        self.find_from(0, pattern).await
    }

    async fn find_from(&mut self, from: usize, pattern: &[u8]) -> usize {
        loop {
            let mut windows = self.read[from..].windows(pattern.len());
            if let Some(at) = windows.position(|window| window == pattern) {
                return from + at + pattern.len();
            }
            let text = String::from_utf8_lossy(&self.read).into_owned();
            assert!(self.more().await, "ended after {text:?}");
        }
    }

    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read));
        matches!(read.await.expect("an answer in time"), Ok(length) if length > 0)
    }
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// An HTTP/2 client over any stream.
pub(crate) async fn http2<S, B>(stream: S) -> conn::http2::SendRequest<B>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request<B>(path: &str, body: B) -> Request<B> {
    let uri = format!("https://app.example.com{path}");
    Request::builder().uri(uri).body(body).unwrap()
}

/// A TLS client that trusts the certificates in `roots` (PEM), and offers `alpn`.
pub(crate) fn tls_config(roots: &[&str], alpn: &[&str]) -> ClientConfig {
    tls_config_for(rustls::ALL_VERSIONS, roots, alpn)
}

pub(crate) fn tls_config_for(
    versions: &[&'static rustls::SupportedProtocolVersion],
    roots: &[&str],
    alpn: &[&str],
) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
        store.add(root).unwrap();
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

pub(crate) async fn tls(
    address: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await.unwrap(), name, config).await
}

/// The same on a connection that has begun.
pub(crate) async fn tls_over(
    stream: TcpStream,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// A certificate and key in PEM for `names`.
pub(crate) fn certificate(names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Long enough that what should not happen would have.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(100);

pub(crate) type Shown = Arc<std::sync::Mutex<Vec<CertificateDer<'static>>>>;

/// A configuration that takes any certificate, and what it was shown.
pub(crate) fn trusting_anybody() -> (ClientConfig, Shown) {
    let shown = Shown::default();
    let verifier = Arc::new(Anybody(shown.clone()));
    let mut config = tls_config(&[], &[]);
    config.dangerous().set_certificate_verifier(verifier);
    (config, shown)
}

#[derive(Debug)]
struct Anybody(Shown);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = [leaf].into_iter().chain(rest).map(|it| it.clone().into_owned());
        *self.0.lock().unwrap() = chain.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
