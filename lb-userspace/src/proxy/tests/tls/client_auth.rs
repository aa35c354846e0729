//! Clients that have to show who they are.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::io::AsyncWriteExt as _;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, PATIENCE, Plan, Start},
};
use crate::service::{ClientAuth, Handler, ProxyProtocol};

const NAME: &str = "app.example.com";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn issue(&self, common_name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

struct Identity(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_config(root: &str, identity: Option<&Identity>) -> ClientConfig {
    let mut config = client::tls_config(&[root], &[]);
    if let Some(Identity(chain, key)) = identity {
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).unwrap();
        let key = rustls::sign::CertifiedKey::new(chain.clone(), signing);
        config.client_auth_cert_resolver =
            std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(key));
    }
    config
}

/// In TLS 1.3 a refusal comes after the client's handshake is done.
async fn is_served(lab: &Lab, config: ClientConfig) -> bool {
    let Ok(mut stream) = client::tls(lab.address, NAME, config).await else {
        return false;
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    String::from_utf8_lossy(&Raw::over(stream).rest().await).contains("hello")
}

/// The file goes with the lab's others.
fn ca_file(authority: &Authority, tag: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("lb-ca-{}-{tag}.pem", std::process::id()));
    std::fs::write(&path, &authority.pem).unwrap();
    path
}

fn demanding(plan: &mut Plan, ca: PathBuf, is_required: bool) {
    plan.tls.as_mut().unwrap().client_auth = Some(ClientAuth { ca, is_required });
}

#[tokio::test]
async fn only_certificates_of_the_authority_are_good() {
    let backend = backend::saying("hello").await;
    let (good, other) = (Authority::new(), Authority::new());
    let ca = ca_file(&good, "only");
    for (is_required, without) in [(true, false), (false, true)] {
        let mut plan = Plan::https(&[backend.address]);
        demanding(&mut plan, ca.clone(), is_required);
        let mut start = Start::new(plan);
        let (cert, key) = client::certificate(&[NAME]);
        start.certificates = vec![(cert.clone(), key)];
        let lab = start.start();
        assert!(is_served(&lab, client_config(&cert, Some(&good.issue("Ann")))).await);
        assert!(!is_served(&lab, client_config(&cert, Some(&other.issue("Ann")))).await);
        assert_eq!(is_served(&lab, client_config(&cert, None)).await, without);
        let bad = 1 + u64::from(is_required);
        let counted = |lab: &Lab| lab.failed_handshakes("bad_client_certificate") == bad;
        lab.until("they are counted", counted).await;
        lab.finish().await;
    }
    std::fs::remove_file(ca).unwrap();
}

/// Two services on one port, of which one asks for certificates.
async fn both(ca: PathBuf) -> (Lab, String) {
    let (open, closed) = (backend::saying("open").await, backend::saying("closed").await);
    let mut plans = vec![Plan::https(&[open.address]), Plan::https(&[closed.address])];
    plans[0].hostnames = vec!["open.example.com".into()];
    plans[1].hostnames = vec!["closed.example.com".into()];
    demanding(&mut plans[1], ca, true);
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    let (cert, key) = client::certificate(&["open.example.com", "closed.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

#[tokio::test]
async fn a_connection_without_certificate_does_not_reach_them_by_host() {
    let authority = Authority::new();
    let ca = ca_file(&authority, "host");
    let (lab, cert) = both(ca.clone()).await;
    let ask = "GET / HTTP/1.1\r\nHost: closed.example.com\r\n\r\n";
    let config = client_config(&cert, None);
    let mut client = Raw::over(client::tls(lab.address, "open.example.com", config).await.unwrap());
    client.send(ask).await;
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("421", Some("misdirected")));
    let config = client_config(&cert, Some(&authority.issue("Ann")));
    let mut client =
        Raw::over(client::tls(lab.address, "closed.example.com", config).await.unwrap());
    client.send(ask).await;
    assert_eq!(client.reply().await.body, "closed");
    drop(client);
    std::fs::remove_file(ca).unwrap();
    lab.finish().await;
}

#[tokio::test]
async fn authorities_that_cannot_be_read_close_their_own_port_alone() {
    let ca = ca_file(&Authority::new(), "unreadable");
    std::fs::write(&ca, "no certificate").unwrap();
    let (lab, cert) = both(ca.clone()).await;
    let anybody = client_config(&cert, Some(&Authority::new().issue("Ann")));
    let open = client::tls(lab.address, "open.example.com", anybody.clone()).await;
    let mut open = Raw::over(open.unwrap());
    open.send("GET / HTTP/1.1\r\nHost: open.example.com\r\n\r\n").await;
    assert_eq!(open.reply().await.body, "open");
    open.send("GET / HTTP/1.1\r\nHost: closed.example.com\r\n\r\n").await;
    assert_eq!(open.reply().await.status(), "421", "nobody was asked for a certificate");
    assert!(client::tls(lab.address, "closed.example.com", anybody).await.is_err());
    drop(open);
    std::fs::remove_file(ca).unwrap();
    lab.finish().await;
}

/// A ticket must not carry a client past the question that it was never asked.
#[tokio::test]
async fn a_session_from_elsewhere_does_not_resume() {
    let backend = backend::saying("hello").await;
    let authority = Authority::new();
    let ca = ca_file(&authority, "ticket");
    let (cert, key) = client::certificate(&[NAME]);
    let lab = |plan: Plan| {
        let mut start = Start::new(plan);
        start.certificates = vec![(cert.clone(), key.clone())];
        start.start()
    };
    let open = lab(Plan::https(&[backend.address]));
    let mut plan = Plan::https(&[backend.address]);
    demanding(&mut plan, ca.clone(), true);
    let closed = lab(plan);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client::tls_config_for(&[version], &[&cert], &[]);
        assert!(is_served(&open, config.clone()).await);
        assert!(is_served(&open, config.clone()).await);
        assert!(!is_served(&closed, config).await, "{version:?}");
    }
    std::fs::remove_file(ca).unwrap();
    open.finish().await;
    closed.finish().await;
}

#[tokio::test]
async fn the_backend_learns_the_common_name() {
    let backend = backend::mirror().await;
    let authority = Authority::new();
    let ca = ca_file(&authority, "name");
    let mut plan = Plan {
        handlers: vec![Handler::Tls, Handler::ProxyProto],
        proxy_proto: Some(ProxyProtocol::V2),
        ..Plan::https(&[backend.address])
    };
    demanding(&mut plan, ca.clone(), true);
    let mut start = Start::new(plan);
    let (cert, key) = client::certificate(&[NAME]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let config = client_config(&cert, Some(&authority.issue("Ännchen")));
    let mut client = Raw::over(client::tls(lab.address, NAME, config).await.unwrap());
    let mut bytes = client.take(16).await;
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    bytes.extend(tokio::time::timeout(PATIENCE, client.take(rest)).await.unwrap());
    let (header, _) = proxy_header::ProxyHeader::parse(&bytes, Default::default()).unwrap();
    let ssl = header.ssl().unwrap();
    assert_eq!((ssl.verify(), ssl.cn()), (0, Some("Ännchen")));
    drop(client);
    std::fs::remove_file(ca).unwrap();
    lab.finish().await;
}

/// cloudfoundry haproxy-boshrelease#162, openshift/router#805.
#[tokio::test]
async fn servers_are_told_who_the_client_is_where_that_is_wanted() {
    let (told, untold) = (backend::echo().await, backend::echo().await);
    let authority = Authority::new();
    let ca = ca_file(&authority, "told");
    let mut plans = vec![Plan::https(&[told.address]), Plan::https(&[untold.address])];
    plans[0].hostnames = vec![NAME.into()];
    demanding(&mut plans[0], ca.clone(), false);
    plans[0].tls.as_mut().unwrap().forward_client_cert = true;
    plans[1].hostnames = vec!["untold.example.com".into()];
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    let (cert, key) = client::certificate(&[NAME, "untold.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    start.settings.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()];
    let lab = start.start();
    let forged = "X-Forwarded-Client-Cert: forged\r\nConnection: X-Forwarded-Client-Cert\r\n";
    let certificates = |body: &str| -> Vec<String> {
        let lines = body.lines().filter_map(|it| it.strip_prefix("x-forwarded-client-cert: "));
        lines.map(str::to_owned).collect()
    };
    let known = client_config(&cert, Some(&authority.issue("Ann")));
    // The second time it resumes, and shows no certificate again.
    for config in [known.clone(), known] {
        let mut client = Raw::over(client::tls(lab.address, NAME, config).await.unwrap());
        let found = certificates(&client.get("/", forged).await.body);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("Hash="), "{found:?}");
        assert!(found[0].ends_with(";Subject=\"CN=Ann\""), "{found:?}");
        // Another service on this connection did not ask for that.
        let request = format!("GET / HTTP/1.1\r\nHost: untold.example.com\r\n{forged}\r\n");
        client.send(request).await;
        assert_eq!(certificates(&client.reply().await.body), Vec::<String>::new());
    }
    let unknown = client_config(&cert, None);
    let mut client = Raw::over(client::tls(lab.address, NAME, unknown).await.unwrap());
    assert_eq!(certificates(&client.get("/", forged).await.body), Vec::<String>::new());
    drop(client);

    // A trusted proxy has verified clients of its own; its own certificate is said after theirs.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(lab.address).await.unwrap();
    let proxy = client_config(&cert, Some(&authority.issue("proxy")));
    let mut client = Raw::over(client::tls_over(stream, NAME, proxy).await.unwrap());
    let earlier = "X-Forwarded-Client-Cert: Subject=\"CN=Ann\"\r\n";
    let found = certificates(&client.get("/", earlier).await.body);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("Subject=\"CN=Ann\",Hash="), "{found:?}");
    assert!(found[0].ends_with(";Subject=\"CN=proxy\""), "{found:?}");
    drop(client);
    std::fs::remove_file(ca).unwrap();
    lab.finish().await;
}

/// What is told of a client's certificate goes by the service that answers, not by the name that
/// the handshake was for, and not along with a replay.
#[tokio::test]
async fn a_certificate_is_told_by_what_the_service_wants() {
    let (silent, told) = (backend::echo().await, backend::echo().await);
    let replaying = backend::http(|_| async {
        let response = hyper::Response::builder().header("fly-replay", "app=service-0");
        response.body(backend::full("")).unwrap()
    })
    .await;
    let authority = Authority::new();
    let ca = ca_file(&authority, "wants");
    let names = ["silent.example.com", "told.example.com", "replaying.example.com"];
    let servers = [silent.address, told.address, replaying.address];
    let mut plans: Vec<_> = servers.iter().map(|&server| Plan::https(&[server])).collect();
    for (plan, name) in plans.iter_mut().zip(names) {
        plan.hostnames = vec![name.into()];
        demanding(plan, ca.clone(), true);
    }
    for plan in &mut plans[1..] {
        plan.tls.as_mut().unwrap().forward_client_cert = true;
    }
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    let (cert, key) = client::certificate(&names);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    for handshake in names {
        let config = client_config(&cert, Some(&authority.issue("Ann")));
        let stream = client::tls(lab.address, handshake, config).await.unwrap();
        let mut client = Raw::over(stream);
        for (asked, is_told) in names.into_iter().zip([false, true, false]) {
            client.send(&format!("GET / HTTP/1.1\r\nHost: {asked}\r\n\r\n")).await;
            let body = client.reply().await.body;
            assert!(body.contains("host: "), "{asked}: {body}");
            let found = body.contains("x-forwarded-client-cert: Hash=");
            assert_eq!(found, is_told, "{handshake}, then {asked}: {body}");
        }
    }
    std::fs::remove_file(ca).unwrap();
    lab.finish().await;
}
