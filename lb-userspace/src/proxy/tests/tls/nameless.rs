//! TLS clients that name no host, and names without a certificate.

use rustls::ClientConfig;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};

const LOOPBACK: &str = "127.0.0.1";

fn nameless(roots: &[&str]) -> ClientConfig {
    let mut config = client::tls_config(roots, &[]);
    config.enable_sni = false;
    config
}

/// The names of each certificate, which of them is marked as the default, and whose a client
/// without SNI is shown that asks for one of those names.
type Row = (&'static [&'static [&'static str]], Option<usize>, Option<(usize, &'static str)>);

/// projectcontour/contour#2720, YunoHost/issues#2775.
#[tokio::test]
async fn a_client_without_a_name_gets_the_certificate_for_the_address_or_the_default_one() {
    let rows: [Row; 8] = [
        (&[&["app.example.com"]], None, Some((0, "app.example.com"))),
        (&[&["app.example.com"], &["app.example.com"]], None, Some((0, "app.example.com"))),
        (&[&["app.example.com"], &["example.org"]], None, None),
        (&[&["app.example.com"], &["example.org"]], Some(1), Some((1, "example.org"))),
        (&[&[LOOPBACK]], None, Some((0, LOOPBACK))),
        (&[&["app.example.com"], &[LOOPBACK, "::1"]], Some(0), Some((1, LOOPBACK))),
        (&[&["app.example.com"], &["example.org", "192.0.2.9"]], None, None),
        (&[&["app.example.com"], &["192.0.2.9"]], Some(1), Some((1, "192.0.2.9"))),
    ];
    let backend = backend::saying("hello").await;
    for (names, default, expected) in rows {
        let mut start = Start::new(Plan::https(&[backend.address]));
        start.certificates = names.iter().map(|names| client::certificate(names)).collect();
        start.default_certificate = default;
        let roots: Vec<_> = start.certificates.iter().map(|(cert, _)| cert.clone()).collect();
        let lab = start.start();
        let (index, name) = expected.unwrap_or((0, names[0][0]));
        // Either of two for the same names will do.
        let good = roots.iter().zip(names).filter(|(_, it)| **it == names[index]);
        let config = nameless(&good.map(|(root, _)| &**root).collect::<Vec<_>>());
        match (client::tls(lab.address, name, config).await, expected) {
            (Ok(stream), Some(_)) => assert_eq!(Raw::over(stream).get("/", "").await.body, "hello"),
            (Err(error), None) => {
                assert!(error.to_string().contains("UnrecognisedName"), "{error}");
            }
            (shaken, _) => panic!("{names:?} {default:?}: {:?}", shaken.map(drop)),
        }
        lab.finish().await;
    }
}

/// Two services by name on one port.
async fn two(change: impl FnOnce(&mut Vec<Plan>)) -> (Lab, String) {
    let (a, b) = (backend::saying("a").await, backend::saying("b").await);
    let mut plans = vec![Plan::https(&[a.address]), Plan::https(&[b.address])];
    plans[0].hostnames = vec!["a.example.com".into()];
    plans[1].hostnames = vec!["b.example.com".into()];
    change(&mut plans);
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    let (cert, key) = client::certificate(&["a.example.com", "b.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

#[tokio::test]
async fn without_a_name_requests_choose_the_service() {
    let (lab, cert) = two(|_| {}).await;
    let stream = client::tls(lab.address, "a.example.com", nameless(&[&cert])).await.unwrap();
    let mut client = Raw::over(stream);
    for (name, status, body) in [
        ("b.example.com", "200", Some("b")),
        ("a.example.com", "200", Some("a")),
        (LOOPBACK, "404", None),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status(), status, "{name}");
        assert!(body.is_none_or(|body| reply.body == body), "{name}: {}", reply.body);
    }
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn without_a_name_nobody_guesses_between_services_that_differ() {
    let bytes = |plans: &mut Vec<Plan>| {
        plans[1] =
            Plan { hostnames: plans[1].hostnames.clone(), ..Plan::tls(&[plans[1].servers[0].0]) }
    };
    let options = |plans: &mut Vec<Plan>| plans[1].tls.as_mut().unwrap().alpn = vec!["h2".into()];
    for change in [&bytes as &dyn Fn(&mut Vec<Plan>), &options] {
        let (lab, cert) = two(change).await;
        let error =
            client::tls(lab.address, "a.example.com", nameless(&[&cert])).await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");
        lab.finish().await;
    }
}

#[tokio::test]
async fn the_only_service_by_name_is_meant_by_who_names_none() {
    let backend = backend::mirror().await;
    let mut plan = Plan::tls(&[backend.address]);
    plan.hostnames = vec!["db.example.com".into(), "*.db.example.com".into()];
    let mut start = Start::new(plan);
    let (cert, key) = client::certificate(&["db.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let stream = client::tls(lab.address, "db.example.com", nameless(&[&cert])).await.unwrap();
    let mut client = Raw::over(stream);
    client.send("x").await;
    assert_eq!(client.take(1).await, b"x");
    drop(client);
    lab.finish().await;
}

/// One certificate for all names had 30 KB with a thousand of them, and none with ten thousand.
#[tokio::test]
async fn ten_thousand_self_signed_names_have_a_small_certificate_each() {
    let backend = backend::saying("hello").await;
    let mut plan = Plan::https(&[backend.address]);
    plan.tls.as_mut().unwrap().default_self_signed = true;
    let name = |number: usize| format!("n{number}.example.com");
    plan.hostnames = (0..10_000).map(|number| name(number).into()).collect();
    plan.hostnames.push("*.wild.example.com".into());
    let mut start = Start::new(plan);
    start.workers = 2;
    let lab = start.start();
    let mut shown = Vec::new();
    for name in [name(0), name(9_999), "x.wild.example.com".into(), LOOPBACK.into(), name(0)] {
        let (config, chain) = client::trusting_anybody();
        client::tls(lab.address, &name, config).await.unwrap();
        let chain = chain.lock().unwrap().clone();
        assert_eq!(chain.len(), 1);
        assert!(chain[0].len() < 512, "{} bytes", chain[0].len());
        let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
        let asked = rustls::pki_types::ServerName::try_from(name.as_str()).unwrap();
        leaf.verify_is_valid_for_subject_name(&asked).unwrap();
        shown.push(chain);
    }
    assert_eq!(shown[0], shown[4], "on whichever worker");
    lab.finish().await;
}
