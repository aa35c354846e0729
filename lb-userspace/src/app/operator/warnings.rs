//! Warnings of `lb check`: what is valid, but hardly meant.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::SystemTime,
};

use crate::{
    proxy::CertificateStore,
    service::{Forwarding, Handler, Path, Port, Server, Service},
    settings::{Config, SourceAddresses},
};

/// Returns the warnings. Reads the certificates.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    // The mistakes in the files themselves are reported elsewhere, with their places.
    let (store, _) = CertificateStore::open(&config.certificates);
    let mut warnings = idle_servers(config);
    warnings.extend(merged_ports(config));
    warnings.extend(uncovered_names(config, &store));
    warnings.extend(stale_certificates(&store, SystemTime::now()));
    warnings
}

/// Returns how many flows one port of a `nat` server can have at a time: source addresses times
/// source ports, or what the flow table has room for. 0: no service needs source ports. With
/// `"interface"`, only one address is certain.
#[must_use]
pub fn flows_per_server(config: &Config) -> u64 {
    let node = &config.node;
    let is_nat = |service: &&Arc<Service>| {
        service.is_steered() && service.steering.forwarding == Forwarding::Nat
    };
    let servers = config.services.iter().filter(is_nat);
    let servers = servers.flat_map(|service| &service.pool.servers);
    let addresses = |server: &Server| match &node.source_addresses {
        SourceAddresses::These(these) => {
            let same = these.iter().filter(|it| it.is_ipv4() == server.address.is_ipv4());
            same.count().max(1) as u64
        }
        SourceAddresses::Routing | SourceAddresses::Interface => 1,
    };
    let ends = servers.map(|server| addresses(server) * u64::from(node.port_count()));
    ends.min().unwrap_or(0).min(u64::from(node.max_flows) + u64::from(node.max_half_open))
}

/// Finds servers of a family that none of their services can use.
fn idle_servers(config: &Config) -> Vec<String> {
    let servers = |service: &Service, used: bool| {
        let servers = service.pool.servers.iter().map(|server| server.address);
        servers.filter(|server| uses(service, server) == used).collect::<Vec<_>>()
    };
    let used: BTreeSet<_> = config.services.iter().flat_map(|it| servers(it, true)).collect();
    let mut told = BTreeSet::new();
    let mut warnings = Vec::new();
    for service in &config.services {
        let idle = servers(service, false).into_iter().filter(|server| !used.contains(server));
        for server in idle.filter(|server| told.insert(*server)) {
            let family = if server.is_ipv4() { "IPv4" } else { "IPv6" };
            warnings.push(format!(
                "server {server} of service `{}` gets nothing: the service has no {family} address, \
                 and only \"ipip\" and \"gue\" carry packets to servers of the other family",
                service.name
            ));
        }
    }
    warnings
}

fn uses(service: &Service, server: &SocketAddr) -> bool {
    let carries = service.steering.forwarding.is_tunnel()
        || service.ports.iter().any(|port| port.path() == Path::Proxy);
    carries || service.addresses.iter().any(|address| address.is_ipv4() == server.is_ipv4())
}

/// Finds ports that lead to the same port of a server, where the server cannot tell them apart.
/// With `http` that is usual, and so it is for TLS beside plain text.
fn merged_ports(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for service in &config.services {
        let Some(server) = service.pool.servers.iter().find(|it| it.address.port() != 0) else {
            continue;
        };
        let mut alike: BTreeMap<&[Handler], Vec<&Port>> = BTreeMap::new();
        for port in service.ports.iter().filter(|port| !port.has(Handler::Http)) {
            alike.entry(&port.handlers).or_default().push(port);
        }
        for ports in alike.values() {
            if ports.iter().flat_map(|port| port.numbers()).nth(1).is_none() {
                continue;
            }
            let listed = ports.iter().map(|port| format!("{port}")).collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "the ports {listed} of service `{}` all lead to port {} of its servers: make them \
                 services of their own if the servers listen on several",
                service.name,
                server.address.port()
            ));
        }
    }
    warnings
}

fn uncovered_names(config: &Config, store: &CertificateStore) -> Vec<String> {
    let names = config.services.iter().flat_map(|service| shown_names(service));
    let uncovered = names.filter(|(_, name)| !store.covers(&asked_for(name)));
    let warning = |(service, name): (&Service, &str)| {
        format!(
            "no certificate covers `{name}` of service `{}`: TLS clients that ask for it are \
             refused; add one to `[[certificates]]` (`*.example.com` covers one label)",
            service.name
        )
    };
    uncovered.map(warning).collect()
}

/// Finds certificates that clients refuse, or soon will.
fn stale_certificates(store: &CertificateStore, now: SystemTime) -> Vec<String> {
    let held = store.held();
    let stale = held.iter().filter_map(|held| {
        let concern = held.validity?.concern(now)?;
        Some(format!("the certificate {} {concern}", held.files.cert.display()))
    });
    stale.collect()
}

/// Returns the names that clients must be shown a certificate for.
fn shown_names(service: &Service) -> impl Iterator<Item = (&Service, &str)> {
    let needs = service.ports.iter().filter_map(|port| port.tls.as_ref());
    let needs = needs.clone().next().is_some() && needs.clone().all(|tls| !tls.default_self_signed);
    let names = service.hostnames.iter().filter(move |_| needs);
    names.map(move |name| (service, &**name))
}

/// Returns a name that a client may ask for.
fn asked_for(name: &str) -> Cow<'_, str> {
    match name.strip_prefix('*') {
        Some(rest) => format!("any{rest}").into(),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    fn found(names: &[&str], certified: &[&str], tls: &str) -> Vec<String> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("lb-warnings-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(id);
        fs::create_dir_all(&directory).unwrap();
        if !certified.is_empty() {
            let names: Vec<_> = certified.iter().map(|&name| name.to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            fs::write(directory.join("a.crt"), made.cert.pem()).unwrap();
            fs::write(directory.join("a.key"), made.signing_key.serialize_pem()).unwrap();
        }
        let text = format!(
            "[node]\ninterfaces = ['eth0']\n[[certificates]]\ncert = 'a.crt'\nkey = 'a.key'\n\
             [[services]]\nname = 'web'\naddresses = ['203.0.113.1']\nhostnames = {names:?}\n\
             ports = [{{ port = 443, handlers = ['tls', 'http'], tls_options = {{ {tls} }} }}]\n\
             load_balancer.servers = [{{ address = '10.0.0.1:80' }}]\n"
        );
        let config = config::parse(&directory.join("lb.toml"), &text);
        let warnings = warnings(&config.unwrap_or_else(|errors| panic!("{errors}")));
        fs::remove_dir_all(&directory).unwrap();
        warnings
    }

    #[test]
    fn a_host_name_without_a_certificate_is_told() {
        let certified = ["a.example.com", "*.example.org"];
        assert!(
            found(&["a.example.com", "*.example.org", "x.example.org"], &certified, "").is_empty()
        );
        for name in ["b.example.com", "*.example.com", "x.y.example.org", "example.org"] {
            let warnings = found(&[name, "a.example.com"], &certified, "");
            assert!(
                matches!(&warnings[..], [one] if one.contains(&format!("`{name}`"))),
                "{warnings:?}"
            );
        }
        assert!(found(&["b.example.com"], &certified, "default_self_signed = true").is_empty());
    }

    /// diennea/carapaceproxy#251: taking it out of service leaves clients with nothing at all.
    #[test]
    fn a_certificate_that_has_expired_is_told() {
        let directory = std::env::temp_dir().join(format!("lb-stale-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example.com".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2021, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(directory.join("a.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(directory.join("a.key"), key.serialize_pem()).unwrap();
        let source = crate::settings::CertificateSource::Directory(directory.clone());
        let (store, unsound) = CertificateStore::open(&[source]);
        fs::remove_dir_all(&directory).unwrap();
        assert!(unsound.is_empty(), "clients decide, so it is used: {unsound:?}");
        let stale = stale_certificates(&store, SystemTime::now());
        let expected = "has expired, 2021-03-04T00:00:00Z";
        assert!(matches!(&stale[..], [one] if one.ends_with(expected)), "{stale:?}");
    }

    #[test]
    fn a_server_that_no_service_can_use_is_told() {
        let pool = "[pools.p]\nservers = [{ address = '10.0.0.1' }, { address = 'fd00::1' }]\n";
        let service = |name: &str, address: &str, more: &str| {
            format!(
                "[[services]]\nname = '{name}'\naddresses = ['{address}']\npool = 'p'\n\
                 internal_port = 80\n{more}\n"
            )
        };
        let (steered, proxied) =
            ("ports = [{ port = 80 }]", "ports = [{ port = 80, handlers = ['http'] }]");
        let tunnel = "ports = [{ port = 80 }]\nforwarding = 'ipip'";
        let [v4, v6] = ["203.0.113.1", "2001:db8::1"];
        for (services, idle) in [
            (service("a", v4, steered), &["[fd00::1]:80"][..]),
            (service("a", v6, steered), &["10.0.0.1:80"]),
            (service("a", v4, tunnel), &[]),
            (service("a", v4, proxied), &[]),
            (service("a", v4, steered) + &service("b", v6, steered), &[]),
        ] {
            let text = format!("[node]\ninterfaces = ['eth0']\n{pool}{services}");
            let config = config::parse(std::path::Path::new("lb.toml"), &text);
            let warnings = warnings(&config.unwrap_or_else(|errors| panic!("{errors}")));
            assert_eq!(warnings.len(), idle.len(), "{services}: {warnings:?}");
            assert!(
                warnings.iter().zip(idle).all(|(warning, idle)| warning.contains(idle)),
                "{warnings:?}"
            );
        }
    }
}
