//! A client's HTTP connection, as its requests see it.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use hyper::{
    HeaderMap, Response, Version,
    body::Bytes,
    header::{self, HeaderValue},
};

use super::worker::Worker;
use crate::proxy::{
    http::{fault::Fault, headers::ClientFacts},
    net::{drain::DrainSignal, endpoints::Endpoints},
    routing::routes::{Frontend, Site},
    tls::terminator::Terminator,
};

/// A client's connection as its requests see it.
pub(crate) struct Client {
    pub worker: Rc<Worker>,
    pub facts: ClientFacts,
    pub peer: IpAddr,
    /// When it is time to go.
    pub drain: Rc<DrainSignal>,
    /// What was served at its address and port when it came.
    frontend: Arc<Frontend>,
    local: SocketAddr,
    /// The address that the client asked, from its own point of view.
    pub server: SocketAddr,
    /// Who ended its TLS.
    terminator: Option<Arc<Terminator>>,
    /// What servers are told of the certificate that it showed, where any are.
    certificate: Option<HeaderValue>,
    /// Until its first request says of which service it is.
    pub idle: Duration,
    /// hyper adds `Date` to each response without one: no service here is pristine.
    pub is_dated: bool,
}

impl Client {
    /// Without TLS.
    pub(crate) fn plain(
        worker: Rc<Worker>,
        frontend: &Arc<Frontend>,
        endpoints: Endpoints,
    ) -> Rc<Self> {
        let idle = worker.settings.idle_timeout;
        Self::new(worker, frontend.clone(), endpoints, None, None, idle)
    }

    /// Of `site`, as far as its handshake says.
    pub(crate) fn secured(
        worker: Rc<Worker>,
        frontend: &Arc<Frontend>,
        endpoints: Endpoints,
        site: &Site,
        certificate: Option<HeaderValue>,
    ) -> Rc<Self> {
        let idle = site.idle(&worker.settings);
        let terminator = site.terminator.clone();
        Self::new(worker, frontend.clone(), endpoints, terminator, certificate, idle)
    }

    fn new(
        worker: Rc<Worker>,
        frontend: Arc<Frontend>,
        endpoints: Endpoints,
        terminator: Option<Arc<Terminator>>,
        certificate: Option<HeaderValue>,
        idle: Duration,
    ) -> Rc<Self> {
        let (peer, local, server) = (endpoints.client.ip(), endpoints.local, endpoints.server);
        let (names, region) = (worker.names.clone(), worker.region.clone());
        let is_trusted = worker.settings.is_trusted(peer);
        let facts = ClientFacts::new(names, region, &endpoints, terminator.is_some(), is_trusted);
        let is_dated = !frontend.sites().any(|site| site.response_headers.is_pristine);
        let drain = worker.drain_of(local, frontend.opening);
        Rc::new(Self {
            worker,
            facts,
            peer,
            drain,
            frontend,
            local,
            server,
            terminator,
            certificate,
            idle,
            is_dated,
        })
    }

    /// Answers a request with why it gets no other answer.
    pub(crate) fn refuse(&self, fault: Fault, version: Version) -> Response<Bytes> {
        tracing::debug!(client = %self.peer, server = %self.local, reason = fault.word(), "refused");
        fault.answer(self.facts.names(), version)
    }

    /// Adds the time to a response of `site` that has none, where hyper does not.
    pub(crate) fn date(&self, site: &Site, headers: &mut HeaderMap) {
        if !self.is_dated
            && !site.response_headers.is_pristine
            && !headers.contains_key(header::DATE)
        {
            let now = httpdate::fmt_http_date(std::time::SystemTime::now());
            let now = HeaderValue::try_from(now).expect("letters, digits and signs");
            headers.insert(header::DATE, now);
        }
    }

    /// The service for a name here, by the routes that apply now, or by those that the connection
    /// began with where nothing is served here any more. Without a name: the one that takes every
    /// name.
    pub(crate) fn site(&self, name: Option<&str>) -> Result<Arc<Site>, Fault> {
        self.worker.with_routes(|routes| {
            let now = routes.find(self.local).filter(|now| now.opening == self.frontend.opening);
            let frontend = now.unwrap_or(&self.frontend);
            let site = match name {
                Some(_) => frontend.site(name),
                None => frontend.site_of_any(),
            };
            let missing = if name.is_some() { Fault::UnknownHost } else { Fault::BadHost };
            match site.ok_or(missing)? {
                site if site.is_http => Ok(site.clone()),
                // Its own connections are not looked into.
                _ => Err(Fault::Misdirected),
            }
        })
    }

    /// Whether this connection was asked for all that `site` asks of its clients.
    pub(crate) fn is_entitled(&self, site: &Site) -> bool {
        let asked = self.terminator.as_ref().and_then(|terminator| terminator.client_auth.as_ref());
        site.client_auth.is_none() || asked == site.client_auth.as_ref()
    }

    /// What `site` is told of the certificate that the client showed.
    pub(crate) fn certificate(&self, site: &Site) -> Option<HeaderValue> {
        let certificate = self.certificate.as_ref()?;
        let terminator = site.terminator.as_ref()?;
        terminator.forwards_client_cert.then(|| certificate.clone())
    }
}
