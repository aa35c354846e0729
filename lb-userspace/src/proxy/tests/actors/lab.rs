//! A running proxy with one service (or more) on loopback.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};

use crate::{
    fleet::{Backend, Fleet, RunningService},
    load::{Load, LoadSlot},
    proxy::{CertificateStore, KEPT, Proxy, Routes, Running},
    service::{
        Concurrency, ConcurrencyKind, Handler, HttpOptions, Pool, Port, ProxyProtocol, Queue,
        Redirect, Server, Service, ServiceLimits, Strategy, TlsOptions, TlsVersion,
    },
    settings::{CertificateFiles, CertificateSource, Geography, Keepalive, ProxySettings},
};

/// What a test waits for, at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn settings() -> ProxySettings {
    ProxySettings {
        header_prefix: "Fly-".into(),
        trusted_proxies: vec![],
        proxy_proto_from: vec![],
        handshake_timeout: PATIENCE,
        ticket_rotation: 60 * PATIENCE,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        keepalive: Keepalive::default(),
        termination_delay: None,
        max_header_size: 64 * 1024,
        max_request_body: u64::MAX,
        request_timeout: None,
        dial_timeout: PATIENCE,
        response_header_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        max_replay_body: 1 << 20,
        max_idle_per_backend: 64,
        upstream_idle_timeout: PATIENCE,
    }
}

pub(crate) fn tls_options() -> TlsOptions {
    TlsOptions {
        alpn: vec!["h2".into(), "http/1.1".into()],
        alpn_by_servers: false,
        versions: vec![TlsVersion::V1_2, TlsVersion::V1_3],
        default_self_signed: false,
        client_auth: None,
        forward_client_cert: false,
    }
}

/// A service to be, on the lab's port.
#[derive(Clone)]
pub(crate) struct Plan {
    pub handlers: Vec<Handler>,
    pub tls: Option<TlsOptions>,
    pub proxy_proto: Option<ProxyProtocol>,
    pub force_https: Option<Redirect>,
    pub idle_timeout: Option<Duration>,
    pub http: HttpOptions,
    pub hostnames: Vec<Arc<str>>,
    pub servers: Vec<(SocketAddr, u16)>,
    /// Their regions and instances, where they have any.
    pub places: Vec<(&'static str, &'static str)>,
    pub counts: ConcurrencyKind,
    pub hard_limit: Option<u32>,
    pub limits: Option<ServiceLimits>,
    pub queue: Queue,
}

impl Plan {
    pub(crate) fn http(servers: &[SocketAddr]) -> Self {
        Self {
            handlers: vec![Handler::Http],
            tls: None,
            proxy_proto: None,
            force_https: None,
            idle_timeout: None,
            http: HttpOptions::default(),
            hostnames: vec![],
            servers: servers.iter().map(|&address| (address, 1)).collect(),
            places: vec![],
            counts: ConcurrencyKind::Requests,
            hard_limit: None,
            limits: None,
            queue: Queue { length: 0, timeout: PATIENCE },
        }
    }

    pub(crate) fn https(servers: &[SocketAddr]) -> Self {
        Self {
            handlers: vec![Handler::Tls, Handler::Http],
            tls: Some(tls_options()),
            ..Self::http(servers)
        }
    }

    pub(crate) fn tls(servers: &[SocketAddr]) -> Self {
        Self { handlers: vec![Handler::Tls], ..Self::https(servers) }
    }

    pub(crate) fn service(&self, name: usize, port: u16) -> Service {
        let server = |(index, &(address, weight)): (usize, &(SocketAddr, u16))| {
            let place = self.places.get(index);
            Server {
                weight,
                region: place
                    .map(|(region, _)| *region)
                    .filter(|it| !it.is_empty())
                    .map(Into::into),
                instance: place.map(|(_, instance)| (*instance).into()),
                ..Server::at(address)
            }
        };
        let servers = self.servers.iter().enumerate().map(server).collect();
        Service {
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            hostnames: self.hostnames.clone(),
            ports: vec![Port {
                handlers: self.handlers.clone(),
                tls: self.tls.clone(),
                proxy_proto: self.proxy_proto,
                force_https: self.force_https,
                idle_timeout: self.idle_timeout,
                http: self.http.clone(),
                ..Port::plain(port.try_into().unwrap())
            }],
            concurrency: Concurrency {
                kind: self.counts,
                hard_limit: self.hard_limit,
                ..Concurrency::default()
            },
            limits: self.limits,
            queue: self.queue,
            ..Service::plain(format!("service-{name}"), Pool::plain(Strategy::P2c, servers))
        }
    }
}

pub(crate) struct Lab {
    pub address: SocketAddr,
    pub services: Vec<Arc<RunningService>>,
    pub load: Load,
    running: Running,
    pub certificates: Arc<CertificateStore>,
    files: Files,
}

pub(crate) struct Start {
    pub plans: Vec<Plan>,
    pub settings: ProxySettings,
    pub region: Option<&'static str>,
    /// Certificate and key in PEM.
    pub certificates: Vec<(String, String)>,
    /// Which of them is marked as the default one.
    pub default_certificate: Option<usize>,
    /// How many of them are of no use.
    pub unsound: usize,
    pub workers: usize,
    pub geography: Geography,
}

impl Start {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plans: vec![plan],
            settings: settings(),
            region: Some("fra"),
            certificates: vec![],
            default_certificate: None,
            unsound: 0,
            workers: 1,
            geography: Geography::default(),
        }
    }

    pub(crate) fn start(self) -> Lab {
        let proxy =
            Proxy::bind(self.workers, "[::]:0".parse().unwrap(), KEPT, Arc::default()).unwrap();
        let port = proxy.listeners()[0].local_addr().unwrap().port();
        let mut slot = 0;
        let services: Vec<_> = self
            .plans
            .iter()
            .enumerate()
            .map(|(name, plan)| run(plan.service(name, port), &mut slot))
            .collect();
        let fleet = Fleet::new(services.clone());
        let files = Files::write(&self.certificates);
        let (certificates, unsound) =
            CertificateStore::open(&files.sources(self.default_certificate));
        assert_eq!(unsound.len(), self.unsound, "{unsound:?}");
        let rotation = self.settings.ticket_rotation;
        let routes = Routes::new(&fleet, &certificates, self.geography, rotation).unwrap();
        let load = Load::local(slot as usize);
        let running = proxy
            .start(
                Arc::new(self.settings),
                self.region.map(Into::into),
                Arc::new(ArcSwap::from_pointee(routes)),
                load.clone(),
                |_| Ok("lo".to_owned()),
            )
            .unwrap();
        Lab {
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            services,
            load,
            running,
            certificates,
            files,
        }
    }
}

pub(crate) fn run(service: Service, slot: &mut u32) -> Arc<RunningService> {
    let backends = service.pool.servers.iter().map(|server| {
        *slot += 1;
        Arc::new(Backend::new(server.clone(), LoadSlot(*slot - 1)))
    });
    let backends = backends.collect();
    Arc::new(RunningService::new(Arc::new(service), backends))
}

impl Lab {
    pub(crate) fn http(servers: &[SocketAddr]) -> Self {
        Start::new(Plan::http(servers)).start()
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        backends.map(|backend| self.load.count(backend.slot)).collect()
    }

    /// Connections taken into use, by backend.
    pub(crate) fn connections(&self) -> Vec<u64> {
        let backends = self.services.iter().flat_map(|service| &service.backends);
        backends.map(|backend| backend.state.taken.load(Ordering::Relaxed)).collect()
    }

    /// Requests taken and failed by the first service.
    pub(crate) fn tally(&self) -> (u64, u64) {
        let service = &self.services[0];
        let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
        (read(&service.counts.requests), read(&service.counts.failed))
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: counts {:?}", self.counts());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// All counts go back to zero by themselves; then the proxy ends.
    pub(crate) async fn finish(mut self) {
        let idle = |lab: &Self| lab.counts().iter().all(|&count| count == 0);
        self.until("load never came back", idle).await;
        self.running.drain(PATIENCE).await;
    }

    /// Drains, and demands that this brought all counts back.
    pub(crate) async fn drain(mut self, within: Duration) {
        let (load, services) = (self.load.clone(), self.services.clone());
        self.running.drain(within).await;
        for backend in services.iter().flat_map(|service| &service.backends) {
            assert_eq!(load.count(backend.slot), 0);
        }
    }

    /// How often TLS failed so.
    pub(crate) fn failed_handshakes(&self, kind: &str) -> u64 {
        let mut failed = self.running.handshakes().failed();
        failed.find(|(found, _)| *found == kind).unwrap().1
    }

    pub(crate) fn file(&self, index: usize) -> &CertificateFiles {
        &self.files.pairs[index]
    }
}

/// Certificate files in a directory that goes away with the lab.
struct Files {
    directory: PathBuf,
    pairs: Vec<CertificateFiles>,
}

impl Files {
    fn write(certificates: &[(String, String)]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lb-proxy-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let write = |(index, (cert, key)): (usize, &(String, String))| {
            let pair = CertificateFiles {
                cert: directory.join(format!("{index}.crt")),
                key: directory.join(format!("{index}.key")),
            };
            std::fs::write(&pair.cert, cert).unwrap();
            std::fs::write(&pair.key, key).unwrap();
            pair
        };
        let pairs = certificates.iter().enumerate().map(write).collect();
        Self { directory, pairs }
    }
}

impl Files {
    fn sources(&self, default: Option<usize>) -> Vec<CertificateSource> {
        let pairs = self.pairs.iter().cloned().enumerate();
        let source = |(index, files)| match default == Some(index) {
            true => CertificateSource::Default(files),
            false => CertificateSource::Files(files),
        };
        pairs.map(source).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
