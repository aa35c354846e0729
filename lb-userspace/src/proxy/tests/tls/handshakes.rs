use rustls::version::{TLS12, TLS13};

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start, tls_options},
};
use crate::{
    proxy::CertificateStore,
    service::TlsVersion,
    settings::{CertificateFiles, CertificateSource},
};

fn start(plan: Plan, names: &[&[&str]]) -> (Lab, Vec<String>) {
    let mut start = Start::new(plan);
    start.certificates = names.iter().map(|names| client::certificate(names)).collect();
    let roots = start.certificates.iter().map(|(cert, _)| cert.clone()).collect();
    (start.start(), roots)
}

#[tokio::test]
async fn both_versions_are_spoken_and_only_those_allowed() {
    let backend = backend::saying("hello").await;
    for (allowed, tls12, tls13) in [
        (vec![TlsVersion::V1_2, TlsVersion::V1_3], true, true),
        (vec![TlsVersion::V1_3], false, true),
        (vec![TlsVersion::V1_2], true, false),
    ] {
        let mut plan = Plan::https(&[backend.address]);
        plan.tls.as_mut().unwrap().versions = allowed;
        let (lab, roots) = start(plan, &[&["app.example.com"]]);
        for (version, works) in [(&TLS12, tls12), (&TLS13, tls13)] {
            let config = client::tls_config_for(&[version], &[&roots[0]], &[]);
            let connected = client::tls(lab.address, "app.example.com", config).await;
            assert_eq!(connected.is_ok(), works, "{version:?}");
            if let Ok(stream) = connected {
                assert_eq!(Raw::over(stream).get("/", "").await.body, "hello");
            }
        }
        lab.finish().await;
    }
}

#[tokio::test]
async fn the_certificate_is_picked_by_name_exact_before_wildcard() {
    let backend = backend::saying("hello").await;
    let names: &[&[&str]] = &[&["*.example.com"], &["app.example.com", "example.org"]];
    let (lab, roots) = start(Plan::https(&[backend.address]), names);
    for (name, certificate) in [
        ("app.example.com", 1),
        ("example.org", 1),
        ("other.example.com", 0),
        ("OTHER.example.com", 0),
    ] {
        let config = client::tls_config(&[&roots[certificate]], &[]);
        let stream = client::tls(lab.address, name, config).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 1);
    }
    lab.finish().await;
}

#[tokio::test]
async fn a_name_without_certificate_gets_the_alert_for_it() {
    let backend = backend::saying("hello").await;
    let (lab, roots) = start(Plan::https(&[backend.address]), &[&["*.example.com"]]);
    for name in ["a.b.example.com", "example.org"] {
        let config = client::tls_config(&[&roots[0]], &[]);
        let error = client::tls(lab.address, name, config).await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    }
    lab.until("they are counted", |lab| lab.failed_handshakes("unrecognized_name") == 2).await;
    lab.finish().await;
}

#[tokio::test]
async fn a_self_signed_certificate_stands_in_where_asked_for() {
    let backend = backend::saying("hello").await;
    let mut plan = Plan::https(&[backend.address]);
    plan.tls.as_mut().unwrap().default_self_signed = true;
    let (lab, roots) = start(plan, &[&["app.example.com"]]);
    let config = client::tls_config(&[&roots[0]], &[]);
    client::tls(lab.address, "app.example.com", config.clone()).await.unwrap();
    let error = client::tls(lab.address, "example.org", config).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    lab.finish().await;
}

#[tokio::test]
async fn alpn_follows_the_options_in_their_order() {
    let backend = backend::saying("hello").await;
    let mut plan = Plan::https(&[backend.address]);
    plan.tls.as_mut().unwrap().alpn = vec!["http/1.1".into(), "h2".into()];
    let (lab, roots) = start(plan, &[&["app.example.com"]]);
    for (offered, agreed) in
        [(&["h2", "http/1.1"][..], Some("http/1.1")), (&["h2"], Some("h2")), (&[], None)]
    {
        let config = client::tls_config(&[&roots[0]], offered);
        let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
        let got = stream.get_ref().1.alpn_protocol();
        assert_eq!(got, agreed.map(str::as_bytes));
    }
    let config = client::tls_config(&[&roots[0]], &["h3"]);
    assert!(client::tls(lab.address, "app.example.com", config).await.is_err());
    lab.until("it is counted", |lab| lab.failed_handshakes("no_application_protocol") == 1).await;
    lab.finish().await;
}

#[tokio::test]
async fn sessions_resume_on_any_worker() {
    let backend = backend::saying("hello").await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    start.workers = 4;
    let lab = start.start();
    let config = client::tls_config(&[&cert], &[]);
    for round in 0..8 {
        let stream = client::tls(lab.address, "app.example.com", config.clone()).await.unwrap();
        let mut client = Raw::over(stream);
        assert_eq!(client.get("/", "").await.body, "hello");
        let kind = client.stream.get_ref().1.handshake_kind();
        let resumed = kind == Some(rustls::HandshakeKind::Resumed);
        assert_eq!(resumed, round > 0, "{kind:?}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn services_on_one_address_are_told_apart_by_name() {
    let (one, two) = (backend::saying("one").await, backend::saying("two").await);
    let mut plans = vec![Plan::https(&[one.address]), Plan::https(&[two.address])];
    plans[0].hostnames = vec!["one.example.com".into()];
    plans[1].hostnames = vec!["*.two.example.com".into()];
    plans[1].tls =
        Some(crate::service::TlsOptions { alpn: vec!["http/1.1".into()], ..tls_options() });
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    let (cert, key) = client::certificate(&["one.example.com", "a.two.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    for (name, body, alpn) in
        [("one.example.com", "one", "h2"), ("a.two.example.com", "two", "http/1.1")]
    {
        let config = client::tls_config(&[&cert], &["h2", "http/1.1"]);
        let stream = client::tls(lab.address, name, config).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        let config = client::tls_config(&[&cert], &["http/1.1"]);
        let mut client = Raw::over(client::tls(lab.address, name, config).await.unwrap());
        client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        assert_eq!(client.reply().await.body, body);
        client.send("GET / HTTP/1.1\r\nHost: three.example.com\r\n\r\n").await;
        assert_eq!(client.reply().await.status(), "404");
    }
    lab.finish().await;
}

#[tokio::test]
async fn unusable_certificates_are_refused_with_the_file_named() {
    let backend = backend::saying("hello").await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    start.certificates =
        vec![client::certificate(&["a.example.com"]), client::certificate(&["b.example.com"])];
    let lab = start.start();
    let (a, b) = (lab.file(0), lab.file(1));
    let pair = |cert: &std::path::Path, key: &std::path::Path| CertificateFiles {
        cert: cert.to_owned(),
        key: key.to_owned(),
    };
    for (pair, says) in [
        (pair(&a.cert, &b.key), "is not the key of"),
        (pair(&a.key, &a.key), "contains no certificate"),
        (pair(&a.cert, &a.cert), "cannot read a key from"),
        (pair("/nowhere.crt".as_ref(), &a.key), "cannot read certificates from /nowhere.crt"),
    ] {
        let (_, unsound) = CertificateStore::open(&[CertificateSource::Files(pair)]);
        assert!(unsound.len() == 1 && unsound[0].to_string().contains(says), "{unsound:?}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_kind() {
    let backend = backend::saying("hello").await;
    let mut plan = Plan::https(&[backend.address]);
    plan.tls.as_mut().unwrap().versions = vec![TlsVersion::V1_3];
    let mut start = Start::new(plan);
    let (cert, key) = client::certificate(&["app.example.com"]);
    let (other, _) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    start.settings.handshake_timeout = client::A_MOMENT;
    let lab = start.start();
    let old = client::tls_config_for(&[&TLS12], &[&cert], &[]);
    assert!(client::tls(lab.address, "app.example.com", old).await.is_err());
    let distrustful = client::tls_config(&[&other], &[]);
    assert!(client::tls(lab.address, "app.example.com", distrustful).await.is_err());
    let mut plain = Raw::connect(lab.address).await;
    plain.send("GET / HTTP/1.1\r\n\r\n").await;
    plain.rest().await;
    drop(Raw::connect(lab.address).await);
    Raw::connect(lab.address).await.rest().await;
    for kind in ["no_common_version", "refused_by_client", "not_tls", "closed_by_client", "timeout"]
    {
        lab.until(kind, |lab| lab.failed_handshakes(kind) == 1).await;
    }
    lab.finish().await;
}

/// golang/go#23689, nodejs/node#23331.
#[tokio::test]
async fn http_where_tls_is_expected_is_told_so() {
    let backend = backend::saying("hello").await;
    for plan in [Plan::https(&[backend.address]), Plan::tls(&[backend.address])] {
        let (lab, _) = start(plan, &[&["app.example.com"]]);
        for request in [
            "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n",
            "POST /x HTTP/1.0\nContent-Length: 3\n\nabc",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            let mut client = Raw::connect(lab.address).await;
            let (first, rest) = request.split_at(2);
            client.send(first).await;
            client.send(rest).await;
            let reply = client.reply().await;
            assert_eq!((reply.status(), reply.header("fly-error")), ("400", Some("plain-http")));
            assert!(reply.body.contains("https"), "{}", reply.body);
            assert_eq!(client.rest().await, b"");
        }
        let mut prior = Raw::connect(lab.address).await;
        prior.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let frames = prior.rest().await;
        assert_eq!(frames[..9], *b"\0\0\0\x04\0\0\0\0\0");
        assert_eq!(frames[9..13], *b"\0\0\x1c\x07");
        assert!(frames.ends_with(b"\0\0\0\x0cthis port speaks TLS"), "{frames:?}");
        for other in ["SSH-2.0-OpenSSH_9.2\r\n", "EHLO a\r\n", "\x7fELF"] {
            let mut client = Raw::connect(lab.address).await;
            client.send(other).await;
            let rest = client.rest().await;
            assert!(!rest.starts_with(b"HTTP"), "{other:?}: {rest:?}");
        }
        lab.until("all are counted", |lab| lab.failed_handshakes("not_tls") == 7).await;
        lab.finish().await;
    }
}

/// traefik/traefik#7776, envoyproxy/gateway#4456.
#[tokio::test]
async fn bytes_are_offered_to_be_what_the_servers_speak() {
    let backends = [backend::mirror().await, backend::mirror().await];
    let mut plan = Plan::tls(&backends.each_ref().map(|backend| backend.address));
    plan.tls.as_mut().unwrap().alpn_by_servers = true;
    let (lab, roots) = start(plan, &[&["app.example.com"]]);
    let known = |first, second| {
        for (backend, speaks) in lab.services[0].backends.iter().zip([first, second]) {
            backend.set_speaks_h2c(speaks);
        }
    };
    let agreed = async |offered: &[&str]| {
        let config = client::tls_config(&[&roots[0]], offered);
        let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let mut client = Raw::over(stream);
        client.send("x").await;
        assert_eq!(client.take(1).await, b"x");
        agreed.map(|name| String::from_utf8(name).unwrap())
    };
    for (first, second, offered, expected) in [
        (false, false, &["h2", "http/1.1"][..], Some("http/1.1")),
        (true, false, &["h2", "http/1.1"], Some("http/1.1")),
        (true, true, &["http/1.1", "h2"], Some("h2")),
        (true, true, &["http/1.1"], Some("http/1.1")),
        (true, true, &["h2"], Some("h2")),
        (true, false, &["h2"], None),
        (true, true, &["mqtt"], None),
        (true, true, &[], None),
    ] {
        known(first, second);
        assert_eq!(agreed(offered).await.as_deref(), expected, "{first} {second} {offered:?}");
    }
    // Who is down gets no connection.
    known(true, false);
    lab.services[0].backends[1].set_up(false);
    assert_eq!(agreed(&["h2", "http/1.1"]).await.as_deref(), Some("h2"));
    lab.finish().await;
}
