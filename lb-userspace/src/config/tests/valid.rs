use std::{path::Path, time::Duration};

use super::{NODE, health_check, service, valid};
use crate::config::load;
use crate::{
    service::{
        ClientAuth, ConcurrencyKind, Handler, HealthCheck, Path as Way, Probe, Redirect, Strategy,
        TlsVersion,
    },
    settings::{CertificateSource, FlowTimeouts, InterfacePattern, UnknownFlows, XdpMode},
};

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = valid(NODE);
    assert_eq!(config.node.region, None);
    assert_eq!(config.node.interfaces, [InterfacePattern::new("eth0")]);
    assert_eq!(config.node.xdp, XdpMode::Auto);
    assert_eq!(config.node.source_ports, 2048..=32767);
    assert_eq!(config.node.max_flows, 262_144);
    assert_eq!(config.node.max_half_open, 32_768);
    assert_eq!(config.node.encap.source_v4.to_string(), "172.16.0.0/16");
    assert_eq!(config.node.encap.source_v6.to_string(), "100::/64");
    assert_eq!(config.node.encap.gue_port, 6080);
    assert_eq!(config.node.workers, None);
    assert_eq!(config.node.state_dir, Path::new("/run/lb"));
    assert_eq!(config.node.pin_dir, Path::new("/sys/fs/bpf/lb"));
    let timeouts = FlowTimeouts {
        half_open: Duration::from_secs(30),
        established: Duration::from_secs(3600),
        closing: Duration::from_secs(3600),
        closed: Duration::from_secs(10),
        reset: Duration::from_secs(60),
        udp_unanswered: Duration::from_secs(30),
        udp_answered: Duration::from_secs(10),
        udp: Duration::from_secs(60),
    };
    assert_eq!(config.node.flow_timeouts, timeouts);
    assert_eq!(config.node.unknown_flows, UnknownFlows::Reset);
    assert_eq!(config.admin.listen, Path::new("/run/lb/admin.sock"));
    assert_eq!(&*config.proxy.header_prefix, "Fly-");
    assert_eq!(config.proxy.max_idle_per_backend, 64);
    assert!(config.services.is_empty());
}

#[test]
fn the_example_shows_every_kind_of_service() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/lb.toml");
    let config = load(&path).unwrap_or_else(|error| panic!("{error}"));
    let [web, ssh, dns] = config.services.as_slice() else {
        panic!("three services");
    };
    assert_eq!(web.hostnames.len(), 2);
    assert_eq!(web.concurrency.kind, ConcurrencyKind::Requests);
    assert_eq!((web.concurrency.soft_limit, web.concurrency.hard_limit), (20, Some(25)));
    assert_eq!(web.ports[0].handlers, [Handler::Tls, Handler::Http]);
    let tls = web.ports[0].tls.as_ref().expect("tls options");
    assert_eq!(tls.versions, [TlsVersion::V1_2, TlsVersion::V1_3]);
    assert!(web.ports[1].force_https == Some(Redirect::default()) && web.ports[1].tls.is_none());
    assert_eq!(web.pool.strategy, Strategy::P2c);
    assert_eq!(web.pool.servers[0].address, "10.0.0.11:8080".parse().expect("address"));
    assert_eq!(web.pool.servers[0].weight, 2);
    assert_eq!(ssh.ports[0].path(), Way::Steer);
    let v6 = "[2001:db8:1::31]:22".parse().expect("address");
    assert_eq!(ssh.pool.servers[1].address, v6);
    assert_eq!(dns.pool.servers.len(), 2);
}

#[test]
fn certificates_are_found_beside_the_configuration() {
    let files = "[[certificates]]\ncert = 'web.crt'\nkey = '/etc/ssl/web.key'\n";
    let config = valid(&format!("{files}{NODE}"));
    let [CertificateSource::Files(pair)] = &*config.certificates else {
        panic!("{:?}", config.certificates);
    };
    assert_eq!(pair.cert, Path::new("/etc/lb/web.crt"));
    assert_eq!(pair.key, Path::new("/etc/ssl/web.key"));
    let marked = valid(&format!("{files}default = true\n{NODE}"));
    assert_eq!(marked.certificates, [CertificateSource::Default(pair.clone())]);

    let directory = "[[certificates]]\ndirectory = 'live'\n";
    let config = valid(&format!("{directory}{NODE}"));
    let found = CertificateSource::Directory("/etc/lb/live".into());
    assert_eq!(config.certificates, [found]);
}

#[test]
fn clients_certificates_are_demanded_unless_optional() {
    for (mode, is_required) in [("", true), (", client_auth = 'optional'", false)] {
        let options = format!("tls_options = {{ client_ca = 'ca.pem'{mode} }}");
        let port = format!("ports = [{{ port = 443, handlers = ['tls'], {options} }}]");
        let config = valid(&service(&port));
        let tls = config.services[0].ports[0].tls.as_ref().expect("tls options");
        let expected = ClientAuth { ca: "/etc/lb/ca.pem".into(), is_required };
        assert_eq!(tls.client_auth, Some(expected));
    }
}

#[test]
fn tls_is_configured_without_options_too() {
    let config = valid(&service("ports = [{ port = 443, handlers = ['tls'] }]"));
    let tls = config.services[0].ports[0].tls.as_ref().expect("tls options");
    assert_eq!(tls.alpn, ["h2".into(), "http/1.1".into()]);
    assert_eq!(tls.versions, [TlsVersion::V1_2, TlsVersion::V1_3]);
    assert!(!tls.default_self_signed);
}

#[test]
fn a_soft_limit_never_exceeds_a_small_hard_limit() {
    let ports = "ports = [{ port = 80, handlers = ['http'] }]";
    let limits = "concurrency = { hard_limit = 5 }";
    let config = valid(&service(&format!("{ports}\n{limits}")));
    let concurrency = config.services[0].concurrency;
    assert_eq!((concurrency.soft_limit, concurrency.hard_limit), (5, Some(5)));
}

fn check_of(keys: &str) -> HealthCheck {
    let config = valid(&health_check(keys));
    config.services[0].pool.health_check.clone().expect("a check")
}

#[test]
fn a_check_without_path_connects_and_one_with_path_asks() {
    let tcp = check_of("");
    assert_eq!(tcp.probe, Probe::Tcp);
    assert_eq!((tcp.interval, tcp.timeout), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((tcp.healthy_threshold, tcp.unhealthy_threshold), (1, 1));

    let http =
        check_of("path = '/h?x', method = 'head', headers = { X-A = 'b' }, interval = '1m30s'");
    let expected = Probe::Http {
        path: "/h?x".into(),
        method: "HEAD".into(),
        hostname: None,
        headers: vec![("X-A".into(), "b".into())],
        status: None,
    };
    assert_eq!(http.probe, expected);
    assert_eq!(http.unhealthy_interval, Duration::from_secs(90));
}

#[test]
fn handlers_are_a_set_and_redirect_is_one_of_its_words() {
    let port = |keys: &str| {
        let config = valid(&service(&format!("ports = [{{ port = 80, {keys} }}]")));
        config.services[0].ports[0].clone()
    };
    for (keys, handlers, redirect) in [
        ("handlers = ['http', 'tls']", &[Handler::Tls, Handler::Http][..], None),
        ("handlers = ['proxy_proto', 'tls']", &[Handler::Tls, Handler::ProxyProto], None),
        ("handlers = ['http', 'redirect']", &[Handler::Http], Some((301, None))),
        (
            "handlers = ['redirect', 'http'], force_https = { status = 308, port = 8443 }",
            &[Handler::Http],
            Some((308, Some(8443))),
        ),
        ("handlers = ['http'], force_https = {}", &[Handler::Http], Some((301, None))),
        ("handlers = ['http', 'tls'], force_https = true", &[Handler::Tls, Handler::Http], None),
    ] {
        let found = port(keys);
        assert_eq!(found.handlers, handlers, "{keys}");
        let told = found.force_https.map(|it| (it.status, it.port.map(u16::from)));
        assert_eq!(told, redirect, "{keys}");
    }
    for keys in [
        "handlers = ['http'], idle_timeout = '10m'",
        "handlers = ['http'], http_options.idle_timeout = 600",
    ] {
        assert_eq!(port(keys).idle_timeout, Some(Duration::from_secs(600)), "{keys}");
    }
    for (keys, by_servers) in [
        ("handlers = ['tls']", true),
        ("handlers = ['tls'], tls_options.alpn = ['h2']", false),
        ("handlers = ['tls', 'http']", false),
        ("handlers = ['pg_tls']", false),
    ] {
        assert_eq!(port(keys).tls.expect("tls").alpn_by_servers, by_servers, "{keys}");
    }
}
