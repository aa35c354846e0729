//! A QUIC connection goes on at its server while its client changes its address.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{actors::certificates, daemon::process::Daemon, lab::topology::Lab};
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig,
    Incoming, RecvStream, SendStream, ServerConfig, TokioRuntime,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
    rustls::{
        self, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

const PORT: u16 = 4433;
const NAME: &str = "quic.example";
/// Addresses that the client has had before it is done: one server of three would be met again by
/// chance once in thousands of runs.
const MOVES: usize = 8;
const CHUNK: usize = 32 * 1024;

/// Ids of this server as docs/quic.md has them: configuration 0, the server, what is its own.
struct Named {
    server: [u8; 2],
    next: Arc<AtomicU64>,
}

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        ConnectionId::new(&[&[10], &self.server[..], &nonce].concat())
    }

    fn cid_len(&self) -> usize {
        11
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn server(socket: UdpSocket, tls: &Arc<rustls::ServerConfig>, id: [u8; 2]) -> Result<Endpoint> {
    let next = Arc::new(AtomicU64::new(1));
    let mut config = EndpointConfig::default();
    config.cid_generator(move || Box::new(Named { server: id, next: next.clone() }));
    let crypto = Arc::new(QuicServerConfig::try_from(tls.clone())?);
    let server = Some(ServerConfig::with_crypto(crypto));
    Ok(Endpoint::new(config, server, socket, Arc::new(TokioRuntime))?)
}

async fn serve(endpoint: Endpoint, name: u8) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(attend(incoming, name));
    }
}

/// Says who it is, then sends back what comes.
async fn attend(incoming: Incoming, name: u8) -> Result<()> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    send.write_all(&[name]).await?;
    let mut buffer = vec![0; CHUNK];
    while let Some(length) = receive.read(&mut buffer).await? {
        send.write_all(&buffer[..length]).await?;
    }
    send.finish()?;
    connection.closed().await;
    Ok(())
}

fn bind(netns: &lb_tests::lab::netns::Netns, to: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    Ok(netns.within(move || UdpSocket::bind(any))??)
}

/// A connection, with a stream that its server sends back.
struct Client {
    endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    /// Who serves it.
    server: u8,
}

impl Client {
    async fn connect(lab: &Lab, to: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> Result<Self> {
        let socket = bind(&lab.client, to)?;
        let runtime = Arc::new(TokioRuntime);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
        let tls = Arc::new(QuicClientConfig::try_from(tls.clone())?);
        endpoint.set_default_client_config(ClientConfig::new(tls));
        let connection = endpoint.connect(to, NAME)?.await.context("connecting")?;
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(b"?").await?;
        let mut greeting = [0; 2];
        receive.read_exact(&mut greeting).await?;
        Ok(Self { endpoint, connection, send, receive, server: greeting[0] })
    }

    async fn exchange(&mut self, when: &str) -> Result<()> {
        let (chunk, mut heard) = (vec![0x5a; CHUNK], vec![0; CHUNK]);
        self.send.write_all(&chunk).await.with_context(|| format!("sending {when}"))?;
        self.receive.read_exact(&mut heard).await.with_context(|| when.to_owned())?;
        ensure!(heard == chunk, "other bytes {when}");
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        self.send.finish()?;
        ensure!(self.receive.read_to_end(1).await?.is_empty(), "more than was sent");
        self.connection.close(0_u32.into(), b"done");
        self.endpoint.wait_idle().await;
        Ok(())
    }
}

async fn transfer(lab: &Lab, to: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> Result<()> {
    let mut client = Client::connect(lab, to, tls).await?;
    client.exchange("at first").await?;
    for turn in 0..MOVES {
        client.endpoint.rebind(bind(&lab.client, to)?)?;
        client.exchange(&format!("after move {turn}")).await?;
    }
    client.end().await
}

/// One client gets the port that another one had a moment ago, as behind a NAT.
async fn take_over(lab: &Lab, to: SocketAddr, tls: &Arc<rustls::ClientConfig>) -> Result<()> {
    let mut client = Client::connect(lab, to, tls).await?;
    let mut other = Client::connect(lab, to, tls).await?;
    while other.server == client.server {
        other.end().await?;
        other = Client::connect(lab, to, tls).await?;
    }
    let port = other.endpoint.local_addr()?;
    other.endpoint.rebind(bind(&lab.client, to)?)?;
    other.exchange("from another port").await?;
    // The socket is closed when an answer has come to the new one.
    let socket = loop {
        match lab.client.within(move || UdpSocket::bind(port))? {
            Ok(socket) => break socket,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    client.endpoint.rebind(socket)?;
    client.exchange("from the other one's port").await?;
    other.exchange("meanwhile").await?;
    client.end().await?;
    other.end().await
}

#[test]
fn a_transfer_goes_on_at_its_server_from_address_to_address() -> Result<()> {
    let lab = Lab::up()?;
    let issued = certificates::issue(lab.directory(), "quic", &[NAME])?;
    let cert = CertificateDer::from_pem_file(&issued.cert)?;
    let key = PrivateKeyDer::from_pem_file(&issued.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let serving = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(cert)?;
    let asking = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let mut servers = Vec::new();
    let (serving, asking) = (Arc::new(serving), Arc::new(asking));
    for (index, backend) in (1_u8..).zip(&lab.backends) {
        for family in 0..2 {
            let address = SocketAddr::new(backend.addresses()[family], PORT);
            let socket = backend.netns.within(move || UdpSocket::bind(address))??;
            let id = [index, family as u8];
            runtime.spawn(serve(server(socket, &serving, id)?, index));
            let [a, b] = id;
            servers.push(format!("{{ address = \"{address}\", server_id = \"{a:02x}{b:02x}\" }}"));
        }
    }
    let [v4, v6] = lb_tests::lab::topology::vips(PORT);
    let services = format!(
        "[[services]]\nname = \"quic\"\nprotocol = \"udp\"\naddresses = [\"{}\", \"{}\"]\n\
         ports = [{{ port = {PORT} }}]\n\
         quic = {{ connection_ids = \"plain\", server_id_length = 2 }}\n\
         load_balancer.servers = [{}]\n",
        v4.ip(),
        v6.ip(),
        servers.join(", ")
    );
    let daemon = Daemon::start_with(&lab, "flow_timeouts.udp = \"1s\"", &services)?;
    runtime.block_on(async {
        for to in [v4, v6] {
            let deadline = Duration::from_secs(60);
            let both = async {
                transfer(&lab, to, &asking).await?;
                take_over(&lab, to, &asking).await
            };
            tokio::time::timeout(deadline, both).await.context("stuck")??;
        }
        anyhow::Ok(())
    })?;
    ensure!(daemon.status()?.flows.rerouted >= 2, "the ids won, once for each family");
    let status = daemon.when_quiet()?;
    let flows = status.service("quic").context("no service")?.connections();
    assert!(flows > 2 * MOVES as u64, "{flows} flows: each address is one");
    daemon.stop()
}
