//! Which service answers at an address and port, for a name. An immutable snapshot: built once
//! per configuration, swapped whole.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::admission::AdmissionControl;
use crate::proxy::{
    http::{redirect::HttpsRedirect, response_headers::ResponseHeaders},
    net::relay::RelayTimeouts,
    tls::{
        certificates::{CertificateError, CertificateStore},
        hostname_map::ByName,
        terminator::{Terminator, Terminators, TlsSite},
    },
};
use crate::{
    balance::Balancer,
    fleet::{Fleet, RunningService},
    service::{ClientAuth, Handler, Opening, Path, Port, Private, ProxyProtocol},
    settings::{Geography, ProxySettings},
};

#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    #[error(
        "services \"{first}\" and \"{second}\" both claim {address} for {}; \
         give them different addresses, ports or hostnames",
        hostname.as_deref().unwrap_or("every name")
    )]
    Claimed { address: SocketAddr, hostname: Option<Arc<str>>, first: Arc<str>, second: Arc<str> },
    #[error(
        "service \"{service}\" on {address} begins with another handler, or is private in another way, \
         than another service there; those that share an address and port must agree in both"
    )]
    Mixed { address: SocketAddr, service: Arc<str> },
}

/// Every address and port that the proxy serves.
pub struct Routes {
    frontends: HashMap<(IpAddr, u16), Arc<Frontend>>,
    services: HashMap<Arc<str>, RoutedService>,
    terminators: Terminators,
    geography: Arc<Geography>,
}

/// A service with ports that have handlers.
struct RoutedService {
    running: Arc<RunningService>,
    /// For each of those ports.
    sites: Vec<Arc<Site>>,
    /// Where it takes requests, at one of its ports: one that serves more than redirects, and that
    /// asks for certificates if any does.
    named: Option<Arc<Site>>,
}

/// One address and port: the services there, by name.
pub(crate) struct Frontend {
    pub opening: Opening,
    /// Connections of clients that came here, over all changes of the configuration.
    live: Arc<AtomicUsize>,
    /// Who may come here at all. `None`: everybody.
    pub private: Option<Private>,
    sites: ByName<Arc<Site>>,
    /// For clients that name no host.
    nameless: Option<Arc<Site>>,
}

/// A service at one of its ports.
pub(crate) struct Site {
    pub balancer: Balancer,
    pub admission: Arc<AdmissionControl>,
    /// HTTP is spoken, else bytes are relayed.
    pub is_http: bool,
    /// Requests by http are sent to https.
    pub redirect: Option<HttpsRedirect>,
    idle_timeout: Option<Duration>,
    /// HTTP/2 is spoken to backends.
    pub h2_backend: bool,
    pub response_headers: ResponseHeaders,
    /// What the backend is told of a relayed connection.
    pub proxy_proto: Option<ProxyProtocol>,
    /// `None` as well where it could not be made: a handshake needs one, and is refused.
    pub terminator: Option<Arc<Terminator>>,
    /// What the port asks of its clients, also where there is no terminator to ask it.
    pub client_auth: Option<ClientAuth>,
    /// The port has TLS.
    is_encrypted: bool,
}

impl Routes {
    /// Lays out `fleet`'s ports that have handlers.
    ///
    /// # Errors
    /// [`RoutesError`] for services that get in each other's way.
    pub fn new(
        fleet: &Fleet,
        certificates: &Arc<CertificateStore>,
        geography: Geography,
        ticket_rotation: Duration,
    ) -> Result<Self, RoutesError> {
        let terminators = Terminators::new(certificates.clone(), ticket_rotation);
        Self::lay_out(fleet, Arc::new(geography), terminators, |_| None, |_| None)
    }

    /// Lays out `fleet` in the place of these routes. What a service that did not change has here
    /// goes on.
    ///
    /// # Errors
    /// As from [`new`](Self::new).
    pub fn changed(&self, fleet: &Fleet, geography: Geography) -> Result<Self, RoutesError> {
        let is_same_place = *self.geography == geography;
        let count = |at: &(IpAddr, u16)| Some(self.frontends.get(at)?.live.clone());
        let geography = if is_same_place { self.geography.clone() } else { Arc::new(geography) };
        let known = |running: &Arc<RunningService>| {
            let known = self.services.get(&running.service.name)?;
            let goes_on = is_same_place && Arc::ptr_eq(&known.running, running);
            // Its files may be good by now.
            let is_whole = || known.sites.iter().all(|site| site.lacks_nothing());
            (goes_on && is_whole()).then(|| known.sites.clone())
        };
        Self::lay_out(fleet, geography, self.terminators.clone(), known, count)
    }

    /// `known` returns the sites of a service that goes on with them, and `count` the live
    /// connections of a frontend that there was before.
    fn lay_out(
        fleet: &Fleet,
        geography: Arc<Geography>,
        mut terminators: Terminators,
        known: impl Fn(&Arc<RunningService>) -> Option<Vec<Arc<Site>>>,
        count: impl Fn(&(IpAddr, u16)) -> Option<Arc<AtomicUsize>>,
    ) -> Result<Self, RoutesError> {
        let (mut services, mut frontends) = (HashMap::new(), HashMap::new());
        for running in &fleet.services {
            let mut make = || {
                let gate = AdmissionControl::new(running.clone());
                let site = |port| Site::new(running, &gate, &geography, port, &mut terminators);
                proxied(running).map(site).map(Arc::new).collect()
            };
            let sites: Vec<_> = known(running).unwrap_or_else(&mut make);
            for (port, site) in proxied(running).zip(&sites) {
                for &address in &running.service.addresses {
                    for number in port.numbers() {
                        let address = SocketAddr::new(address, number);
                        claim(&mut frontends, address, port.opening(), site)?;
                    }
                }
            }
            if !sites.is_empty() {
                let routed = RoutedService::new(running.clone(), sites);
                services.insert(running.service.name.clone(), routed);
            }
        }
        let frontends = frontends.into_iter();
        let frontends = frontends.map(|(at, mut frontend): (_, Frontend)| {
            frontend.nameless = nameless(&frontend.sites);
            frontend.live = count(&at).unwrap_or_default();
            (at, Arc::new(frontend))
        });
        terminators.forget_unused();
        Ok(Self { frontends: frontends.collect(), services, terminators, geography })
    }

    /// Returns the addresses and ports that have live connections here and no service in `next`,
    /// with their counts.
    #[must_use]
    pub fn removed_in(&self, next: &Self) -> Vec<(SocketAddr, Arc<AtomicUsize>)> {
        let removed = self.frontends.iter().filter(|(at, frontend)| {
            !next.frontends.contains_key(at) && frontend.live.load(Ordering::Relaxed) > 0
        });
        removed.map(|(&at, frontend)| (at.into(), frontend.live.clone())).collect()
    }

    /// The service `name`, where it takes requests.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Site>> {
        self.services.get(name)?.named.as_ref()
    }

    /// `local` is what a connection's `getsockname` says, IPv4 in IPv6 or not.
    pub(crate) fn find(&self, local: SocketAddr) -> Option<&Arc<Frontend>> {
        self.frontends.get(&(local.ip().to_canonical(), local.port()))
    }
}

impl RoutedService {
    fn new(running: Arc<RunningService>, sites: Vec<Arc<Site>>) -> Self {
        let mut named: Option<&Arc<Site>> = None;
        for site in sites.iter().filter(|site| site.is_http) {
            if named.is_none_or(|named| site.is_stricter(named)) {
                named = Some(site);
            }
        }
        Self { named: named.cloned(), running, sites }
    }
}

/// A connection that came to a frontend, until dropped.
pub(crate) struct FrontendConnection(Arc<AtomicUsize>);

impl Drop for FrontendConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Frontend {
    /// Counts a connection.
    pub(crate) fn enter(&self) -> FrontendConnection {
        self.live.fetch_add(1, Ordering::Relaxed);
        FrontendConnection(self.live.clone())
    }

    /// For a client that names the host `name`, or none.
    pub(crate) fn site(&self, name: Option<&str>) -> Option<&Arc<Site>> {
        match name {
            Some(name) => self.sites.find(Some(name)),
            None => self.nameless.as_ref(),
        }
    }

    /// For a request that names no host: the service that takes every name.
    pub(crate) fn site_of_any(&self) -> Option<&Arc<Site>> {
        self.sites.find(None)
    }

    pub(crate) fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }
}

impl Site {
    fn new(
        running: &Arc<RunningService>,
        gate: &Arc<AdmissionControl>,
        geography: &Arc<Geography>,
        port: &Port,
        terminators: &mut Terminators,
    ) -> Self {
        // It costs its own port: the others have nothing to do with its files.
        let terminator = port.tls.as_ref().and_then(|options| {
            let made = terminators.terminator(options);
            let refused = |error: &CertificateError| {
                let service = &running.service.name;
                tracing::error!(%service, %port, %error, "all TLS handshakes here are refused");
            };
            made.inspect_err(refused).ok()
        });
        Self {
            balancer: Balancer::new(running.clone(), geography.clone()),
            admission: gate.clone(),
            is_http: port.has(Handler::Http),
            redirect: port.force_https.map(|it| HttpsRedirect::new(it, &running.service)),
            idle_timeout: port.idle_timeout,
            h2_backend: port.http.h2_backend,
            response_headers: ResponseHeaders::new(&port.http),
            proxy_proto: port.proxy_proto,
            terminator,
            client_auth: port.tls.as_ref().and_then(|options| options.client_auth.clone()),
            is_encrypted: port.tls.is_some(),
        }
    }

    /// Whether all that its port needs could be made.
    fn lacks_nothing(&self) -> bool {
        !self.is_encrypted || self.terminator.is_some()
    }

    /// How long a client may do nothing between requests, or leave us waiting within one.
    pub(crate) fn idle(&self, settings: &ProxySettings) -> Duration {
        self.idle_timeout.unwrap_or(settings.idle_timeout)
    }

    /// How long a relay may be silent.
    pub(crate) fn timeouts(&self, settings: &ProxySettings) -> RelayTimeouts {
        RelayTimeouts { idle: self.idle_timeout, termination: settings.termination_delay }
    }

    /// Whether requests that come by the service's name are rather judged by this port's rules.
    fn is_stricter(&self, other: &Self) -> bool {
        let rank = |site: &Self| (site.redirect.is_none(), site.client_auth.is_some());
        rank(self) > rank(other)
    }

    pub(crate) fn running(&self) -> &Arc<RunningService> {
        self.balancer.service()
    }
}

impl TlsSite for Arc<Site> {
    fn terminator(&self) -> Option<&Terminator> {
        self.terminator.as_deref()
    }

    fn speaks_h2c(&self) -> bool {
        let backends = self.running().backends.iter();
        let mut open = backends.filter(|backend| backend.is_open()).peekable();
        open.peek().is_some() && open.all(|backend| backend.speaks_h2c())
    }
}

fn proxied(running: &RunningService) -> impl Iterator<Item = &Port> {
    let ports = running.service.ports.iter();
    ports.filter(|port| port.path() == Path::Proxy)
}

fn claim(
    frontends: &mut HashMap<(IpAddr, u16), Frontend>,
    address: SocketAddr,
    opening: Opening,
    site: &Arc<Site>,
) -> Result<(), RoutesError> {
    let service = &site.running().service;
    let at = (address.ip().to_canonical(), address.port());
    let frontend = frontends.entry(at).or_insert_with(|| Frontend {
        opening,
        live: Arc::default(),
        private: service.private.clone(),
        sites: ByName::default(),
        nameless: None,
    });
    if frontend.opening != opening || frontend.private != service.private {
        let service = service.name.clone();
        return Err(RoutesError::Mixed { address, service });
    }
    let hostnames = if opening.is_named() { &*service.hostnames } else { &[] };
    let named = hostnames.iter().map(|name| Some(name.clone()));
    let any = hostnames.is_empty().then_some(None);
    for hostname in named.chain(any) {
        let slot = frontend.sites.entry(hostname.as_deref());
        let owner = slot.or_insert_with(|| site.clone());
        if !Arc::ptr_eq(owner, site) {
            return Err(RoutesError::Claimed {
                address,
                hostname,
                first: owner.running().service.name.clone(),
                second: service.name.clone(),
            });
        }
    }
    Ok(())
}

/// The site that takes every name. Without one any of those here, where it makes no difference
/// which: it is the only one, or each request will name its own (`Host`) and all end TLS alike.
fn nameless(sites: &ByName<Arc<Site>>) -> Option<Arc<Site>> {
    if let Some(any) = sites.find(None) {
        return Some(any.clone());
    }
    let first = sites.values().next()?;
    let is_alike = |site: &Arc<Site>| {
        let terminators = (site.terminator.as_ref(), first.terminator.as_ref());
        let ends_tls_alike = matches!(terminators, (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        Arc::ptr_eq(site, first) || site.is_http && first.is_http && ends_tls_alike
    };
    sites.values().all(is_alike).then(|| first.clone())
}
