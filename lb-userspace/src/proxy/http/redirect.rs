//! `force_https`: the same place over https.

use hyper::{
    Response, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderValue},
};

use super::host::Authority;
use crate::service::{self, Handler, Service};

/// The port that a URL need not name.
const HTTPS: u16 = 443;

/// Where requests of a port are sent to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpsRedirect {
    status: StatusCode,
    port: u16,
}

impl HttpsRedirect {
    /// As `configured` for a port of `service`.
    pub(crate) fn new(configured: service::Redirect, service: &Service) -> Self {
        Self {
            status: StatusCode::from_u16(configured.status)
                .unwrap_or(StatusCode::MOVED_PERMANENTLY),
            port: configured.port.map_or_else(|| https_port(service), Into::into),
        }
    }

    /// `https://host:port/path?query`. The host is the validated one without the port that was
    /// asked, and the path begins with `/`, so that nothing in the request can lead to another host
    /// or into another header.
    pub(crate) fn answer(self, host: &Authority<'_>, uri: &Uri) -> Response<Bytes> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path } else { "/" };
        let location = match self.port {
            HTTPS => format!("https://{}{path}", host.name()),
            port => format!("https://{}:{port}{path}", host.name()),
        };
        let location =
            HeaderValue::try_from(location).expect("host and path consist of visible characters");
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::LOCATION, location);
        response
    }
}

/// Where `service` has https: 443 if that is one of its ports for it, else the first of them. Those
/// that hand on what is in TLS come after those with `http`. It may be another's affair: then 443.
fn https_port(service: &Service) -> u16 {
    let of = |wanted: &dyn Fn(&service::Port) -> bool| {
        let mut ports = service.ports.iter().filter(|port| wanted(port));
        let first = ports.next()?;
        let has_usual = |port: &service::Port| port.numbers().contains(&HTTPS);
        let is_usual = has_usual(first) || ports.any(has_usual);
        Some(if is_usual { HTTPS } else { first.port.get() })
    };
    of(&|port| port.handlers == [Handler::Tls, Handler::Http])
        .or_else(|| of(&|port| port.has(Handler::Tls)))
        .unwrap_or(HTTPS)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::service::{Pool, Port, Strategy};

    #[test]
    fn https_is_where_the_service_has_it() {
        let (https, tls) = (&[Handler::Tls, Handler::Http][..], &[Handler::Tls][..]);
        for (ports, expected) in [
            (&[(80, &[Handler::Http][..])][..], 443),
            (&[(80, &[Handler::Http]), (8443, https)], 8443),
            (&[(8443, https), (443, https)], 443),
            (&[(9443, tls), (8443, https), (8444, https)], 8443),
            (&[(9443, tls), (5432, &[Handler::PgTls])], 9443),
            (&[(443, &[]), (5432, &[Handler::PgTls])], 443),
        ] {
            let port = |&(number, handlers): &(u16, &[Handler])| Port {
                handlers: handlers.to_vec(),
                ..Port::plain(NonZeroU16::new(number).unwrap())
            };
            let service = Service {
                ports: ports.iter().map(port).collect(),
                ..Service::plain("web", Pool::plain(Strategy::P2c, vec![]))
            };
            assert_eq!(https_port(&service), expected, "{ports:?}");
            let told = service::Redirect { status: 308, port: NonZeroU16::new(9) };
            assert_eq!(HttpsRedirect::new(told, &service).port, 9);
        }
    }
}
