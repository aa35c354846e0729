//! The protocol of checks: by default, what the proxy speaks to the server.

use super::{
    definition::Service,
    health_check::HealthCheck,
    port::{Handler, Port, ProxyProtocol},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckProtocol {
    /// HTTP/2 without TLS, from the first byte on.
    pub h2: bool,
    /// The PROXY protocol header at the beginning.
    pub proxy_proto: Option<ProxyProtocol>,
}

impl Service {
    /// Returns the protocol of a service's checks. At another port than the clients' a server need
    /// not speak what it speaks to them. If the service's ports differ, the server is assumed to
    /// accept plain HTTP.
    #[must_use]
    pub fn check_protocol(&self, check: &HealthCheck) -> CheckProtocol {
        let ports: &[Port] = if check.port.is_some() { &[] } else { &self.ports };
        let mut http = ports.iter().filter(|port| port.has(Handler::Http)).peekable();
        let h2 = http.peek().is_some() && http.all(|port| port.http.h2_backend);
        let first = ports.first().and_then(|port| port.proxy_proto);
        let announced = first.filter(|_| ports.iter().all(|port| port.proxy_proto.is_some()));
        CheckProtocol {
            h2: check.h2_backend.unwrap_or(h2),
            proxy_proto: check.proxy_proto.unwrap_or(announced),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, sync::Arc};

    use super::*;
    use crate::service::{HttpOptions, Pool, Probe, Strategy};

    fn http(h2_backend: bool) -> Port {
        let http = HttpOptions { h2_backend, ..HttpOptions::default() };
        Port { handlers: vec![Handler::Http], http, ..Port::plain(NonZeroU16::MIN) }
    }

    fn announced(version: ProxyProtocol) -> Port {
        let proxy_proto = Some(version);
        Port { handlers: vec![Handler::ProxyProto], proxy_proto, ..Port::plain(NonZeroU16::MIN) }
    }

    /// haproxy/haproxy#1225, varnishcache/varnish-cache#2151, envoyproxy/envoy#31691.
    #[test]
    fn a_check_speaks_as_the_ports_do_unless_it_is_told_otherwise() {
        let plain = || Port::plain(NonZeroU16::MIN);
        let (v1, v2) = (Some(ProxyProtocol::V1), Some(ProxyProtocol::V2));
        let same = HealthCheck::plain(Probe::Tcp);
        let elsewhere = HealthCheck { port: NonZeroU16::new(9), ..same.clone() };
        let told = HealthCheck { h2_backend: Some(false), proxy_proto: Some(v2), ..same.clone() };
        let apart = HealthCheck { h2_backend: Some(true), ..elsewhere.clone() };
        for (ports, check, h2, proxy_proto) in [
            (vec![plain()], &same, false, None),
            (vec![http(true)], &same, true, None),
            (vec![http(true), http(false)], &same, false, None),
            (vec![http(true), plain()], &same, true, None),
            (vec![announced(ProxyProtocol::V1)], &same, false, v1),
            (vec![announced(ProxyProtocol::V2), plain()], &same, false, None),
            (vec![http(true)], &elsewhere, false, None),
            (vec![announced(ProxyProtocol::V2)], &elsewhere, false, None),
            (vec![http(true)], &told, false, v2),
            (vec![http(false)], &apart, true, None),
        ] {
            let service = Service::plain("web", Pool::plain(Strategy::P2c, Vec::new()));
            let service = Arc::new(Service { ports, ..service });
            assert_eq!(
                service.check_protocol(check),
                CheckProtocol { h2, proxy_proto },
                "{service:?}"
            );
        }
    }
}
