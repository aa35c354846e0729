use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};
use crate::service::Redirect;

/// The headers of the request that the backend saw, without `host`.
fn seen(body: &str) -> Vec<&str> {
    let lines = body.lines().skip(1).take_while(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with("host: ")).collect()
}

#[tokio::test]
async fn a_plain_request_gets_every_header_of_the_table() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let reply = Raw::connect(lab.address).await.get("/a?b=c", "").await;
    let port = lab.address.port();
    assert_eq!(reply.body.lines().next(), Some("GET /a?b=c HTTP/1.1"));
    assert_eq!(
        seen(&reply.body),
        [
            "fly-client-ip: 127.0.0.1",
            &format!("fly-forwarded-port: {port}"),
            "fly-region: fra",
            "x-forwarded-for: 127.0.0.1",
            &format!("x-forwarded-port: {port}"),
            "x-forwarded-proto: http",
            "x-forwarded-ssl: off",
        ]
    );
    lab.finish().await;
}

#[tokio::test]
async fn what_a_client_forged_is_replaced_where_the_table_says_we_set_it() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let forged = "Fly-Client-IP: 1.1.1.1\r\nFly-Client-IP: 2.2.2.2\r\n\
        X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-SSL: on\r\nX-Forwarded-Port: 8443\r\n\
        Fly-Forwarded-Port: 1\r\nFly-Region: syd\r\nFly-Preferred-Instance-Unavailable: m-1\r\n\
        Fly_Client_IP: 1.1.1.1\r\nFly-Client_IP: 1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\n\
        X_Forwarded_Proto: https\r\nX_Forwarded_SSL: on\r\nFly_Region: syd\r\nA_B: kept\r\n";
    let reply = Raw::connect(lab.address).await.get("/", forged).await;
    assert_eq!(
        seen(&reply.body),
        [
            "a_b: kept",
            "fly-client-ip: 127.0.0.1",
            &format!("fly-forwarded-port: {}", lab.address.port()),
            "fly-region: fra",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: http",
            "x-forwarded-ssl: off",
        ]
    );
    lab.finish().await;
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_its_client_and_nothing_else() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let lab = start.start();
    let told = "Fly-Client-IP: 1.1.1.1\r\nFly-Region: syd\r\n\
        X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-SSL: off\r\nX-Forwarded-Port: 8443\r\n\
        X-Forwarded-Host: b\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
        X_Forwarded_For: 4.4.4.4\r\nX.Real.IP: 4.4.4.4\r\n";
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get("/", told).await;
    let port = lab.address.port();
    assert_eq!(
        seen(&reply.body),
        [
            "fly-client-ip: 127.0.0.1",
            &format!("fly-forwarded-port: {port}"),
            "fly-region: fra",
            "forwarded: for=1.1.1.1",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1",
            "x-forwarded-host: b",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: https",
            "x-forwarded-ssl: on",
            "x-real-ip: 1.1.1.1",
        ]
    );
    let strange = client.get("/", "X-Forwarded-Proto: gopher\r\n").await;
    assert!(seen(&strange.body).contains(&"x-forwarded-proto: http"));
    lab.finish().await;
}

#[tokio::test]
async fn who_came_to_a_trusted_proxy_by_https_is_not_redirected() {
    let backend = backend::saying("hello").await;
    for (trusted, status) in [(true, "200"), (false, "301")] {
        let mut plan = Plan::http(&[backend.address]);
        plan.force_https = Some(Redirect::default());
        let mut start = Start::new(plan);
        if trusted {
            start.settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        }
        let lab = start.start();
        let mut client = Raw::connect(lab.address).await;
        assert_eq!(client.get("/", "X-Forwarded-Proto: https\r\n").await.status(), status);
        assert_eq!(client.get("/", "X-Forwarded-Proto: http\r\n").await.status(), "301");
        lab.finish().await;
    }
}

#[tokio::test]
async fn without_a_region_a_forged_one_is_removed_and_the_prefix_is_a_setting() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.region = None;
    start.settings.header_prefix = "Lb-".into();
    let lab = start.start();
    let forged = "Lb-Region: syd\r\nFly-Region: mine\r\n";
    let reply = Raw::connect(lab.address).await.get("/", forged).await;
    let port = lab.address.port();
    assert_eq!(
        seen(&reply.body),
        [
            "fly-region: mine",
            "lb-client-ip: 127.0.0.1",
            &format!("lb-forwarded-port: {port}"),
            "x-forwarded-for: 127.0.0.1",
            &format!("x-forwarded-port: {port}"),
            "x-forwarded-proto: http",
            "x-forwarded-ssl: off",
        ]
    );
    lab.finish().await;
}

#[tokio::test]
async fn over_tls_they_say_so() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let config = client::tls_config(&[&cert], &[]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    let reply = Raw::over(stream).get("/", "X-Forwarded-Proto: http\r\n").await;
    assert!(seen(&reply.body).contains(&"x-forwarded-proto: https"));
    assert!(seen(&reply.body).contains(&"x-forwarded-ssl: on"));
    lab.finish().await;
}

#[tokio::test]
async fn an_ipv6_client_is_named_as_such() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let address = format!("[::1]:{}", lab.address.port()).parse().unwrap();
    let reply = Raw::connect(address).await.get("/", "").await;
    assert!(seen(&reply.body).contains(&"fly-client-ip: ::1"));
    lab.finish().await;
}

#[tokio::test]
async fn hop_by_hop_headers_stay_behind() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let hops = "Connection: keep-alive, X-Hop, Fly-Client-IP\r\nConnection: Host\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n\
        X-Stays: 1\r\n";
    let reply = Raw::connect(lab.address).await.get("/", hops).await;
    let seen = seen(&reply.body);
    assert!(seen.contains(&"x-stays: 1"));
    assert!(seen.contains(&"fly-client-ip: 127.0.0.1"));
    assert!(reply.body.contains("\nhost: app.example.com\n"));
    for hop in ["connection", "x-hop", "keep-alive", "proxy-connection", "te", "upgrade"] {
        let found = seen.iter().any(|line| line.starts_with(&format!("{hop}:")));
        assert!(!found, "{hop} in {seen:?}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn h2c_upgrades_are_not_passed_on() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n";
    let reply = Raw::connect(lab.address).await.get("/", upgrade).await;
    assert_eq!(reply.status(), "200");
    assert!(!reply.body.contains("upgrade") && !reply.body.contains("http2-settings"));
    lab.finish().await;
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client
        .send("GET http://other.example.com:81/x?y HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!(reply.body.lines().next(), Some("GET /x?y HTTP/1.1"));
    assert!(reply.body.contains("\nhost: other.example.com:81\n"));
    lab.finish().await;
}

#[tokio::test]
async fn a_request_without_one_valid_host_is_refused() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: user@a\r\n", "Host: a/b\r\n", "Host:\r\n"] {
        let mut client = Raw::connect(lab.address).await;
        client.send(format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status(), "400", "{hosts:?}");
        assert_eq!(reply.header("fly-error"), Some("bad-host"));
    }
    assert_eq!(backend.accepted(), 0);
    lab.finish().await;
}

#[tokio::test]
async fn force_https_sends_to_the_same_place() {
    let backend = backend::echo().await;
    let mut plan = Plan::http(&[backend.address]);
    plan.force_https = Some(Redirect::default());
    let lab = Start::new(plan).start();
    for (target, host, location) in [
        ("/a?b=c", "app.example.com", "https://app.example.com/a?b=c"),
        ("/", "app.example.com:8080", "https://app.example.com/"),
        ("//evil.example/%0d%0a", "a", "https://a//evil.example/%0d%0a"),
        ("/", "[::1]:80", "https://[::1]/"),
        ("http://b/x", "a", "https://b/x"),
        ("*", "a", "https://a/"),
    ] {
        let mut client = Raw::connect(lab.address).await;
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status(), "301");
        assert_eq!(reply.header("location"), Some(location));
    }
    assert_eq!(backend.accepted(), 0);
    assert_eq!(lab.tally(), (6, 0));
    lab.finish().await;
}

/// traefik/traefik#6388.
#[tokio::test]
async fn whatever_way_a_trusted_proxy_says_https_it_is_not_redirected() {
    let backend = backend::echo().await;
    let mut plan = Plan::http(&[backend.address]);
    plan.force_https = Some(Redirect::default());
    let mut start = Start::new(plan);
    start.settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    for (line, status) in [
        ("X-Forwarded-Proto: wss", "200"),
        ("X-Forwarded-Proto: https,https", "200"),
        ("X-Forwarded-Proto: https, http", "200"),
        ("X-Forwarded-Proto: http, https", "301"),
        ("X-Forwarded-Ssl: on", "200"),
        ("X-Forwarded-Proto: gopher", "301"),
    ] {
        let reply = client.get("/", &format!("{line}\r\n")).await;
        assert_eq!(reply.status(), status, "{line}");
        if status == "200" {
            assert!(seen(&reply.body).contains(&"x-forwarded-proto: https"), "{line}");
        }
    }
    lab.finish().await;
}

/// nginx-proxy/nginx-proxy#1737, goharbor/harbor#6122, btcpayserver/btcpayserver-docker#1126.
#[tokio::test]
async fn the_status_and_port_of_a_redirect_are_a_choice() {
    let backend = backend::echo().await;
    for status in [301, 302, 307, 308] {
        let mut plan = Plan::http(&[backend.address]);
        plan.force_https = Some(Redirect { status, port: std::num::NonZeroU16::new(8443) });
        let lab = Start::new(plan).start();
        let mut client = Raw::connect(lab.address).await;
        for (method, host, location) in [
            ("GET", "app.example.com:80", "https://app.example.com:8443/a?b"),
            ("HEAD", "[::1]:80", "https://[::1]:8443/a?b"),
            ("POST", "app.example.com", "https://app.example.com:8443/a?b"),
        ] {
            let body = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
            client.send(format!("{method} /a?b HTTP/1.1\r\nHost: {host}\r\n{body}\r\n")).await;
            let reply = client.reply().await;
            assert_eq!(reply.status(), status.to_string(), "{method}");
            assert_eq!(reply.header("location"), Some(location));
        }
        drop(client);
        lab.finish().await;
    }
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn certificates_that_strangers_claim_to_have_shown_are_taken_out() {
    let backend = backend::echo().await;
    for (trusted, reaches) in [(false, false), (true, true)] {
        let mut start = Start::new(Plan::http(&[backend.address]));
        if trusted {
            start.settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        }
        let lab = start.start();
        let forged = "X-Forwarded-Client-Cert: Subject=\"CN=root\"\r\n\
            X_Forwarded_Client_Cert: forged\r\nx-forwarded_client-cert: forged\r\n";
        let reply = Raw::connect(lab.address).await.get("/", forged).await;
        let found = seen(&reply.body).contains(&"x-forwarded-client-cert: Subject=\"CN=root\"");
        assert_eq!(found, reaches, "{}", reply.body);
        assert!(!reply.body.contains("forged"), "{}", reply.body);
        lab.finish().await;
    }
}
