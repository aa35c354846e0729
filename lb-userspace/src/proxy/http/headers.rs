//! Which headers reach the backend and the client.

use std::sync::Arc;

use hyper::{
    HeaderMap, Version,
    header::{self, HeaderName, HeaderValue, InvalidHeaderName},
};

use super::{
    fields::{self, FoundFields, X_FORWARDED_PORT, is_odd, is_of_proxies},
    scheme::{self, X_FORWARDED_PROTO, X_FORWARDED_SSL},
};
use crate::proxy::net::endpoints::Endpoints;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_CLIENT_CERT: HeaderName =
    HeaderName::from_static("x-forwarded-client-cert");

/// The headers under the configured prefix, `Fly-` unless set otherwise.
pub(crate) struct HeaderNames {
    /// What they begin with, in lower case.
    pub prefix: Box<str>,
    client_ip: HeaderName,
    forwarded_port: HeaderName,
    region: HeaderName,
    pub preferred_instance_unavailable: HeaderName,
    pub prefer_region: HeaderName,
    pub prefer_instance: HeaderName,
    pub force_instance: HeaderName,
    pub replay: HeaderName,
    pub replay_src: HeaderName,
    pub replay_failed: HeaderName,
    /// Why an answer is ours and not the backend's.
    pub error: HeaderName,
}

impl HeaderNames {
    pub(crate) fn new(prefix: &str) -> Result<Self, InvalidHeaderName> {
        // Made once for the process. Names in static memory are cloned without being counted.
        let name = |rest: &str| {
            let name = format!("{prefix}{rest}").to_ascii_lowercase();
            HeaderName::try_from(&name).map(|_| HeaderName::from_static(name.leak()))
        };
        Ok(Self {
            prefix: prefix.to_ascii_lowercase().into(),
            client_ip: name("Client-IP")?,
            forwarded_port: name("Forwarded-Port")?,
            region: name("Region")?,
            preferred_instance_unavailable: name("Preferred-Instance-Unavailable")?,
            prefer_region: name("Prefer-Region")?,
            prefer_instance: name("Prefer-Instance-Id")?,
            force_instance: name("Force-Instance-Id")?,
            replay: name("Replay")?,
            replay_src: name("Replay-Src")?,
            replay_failed: name("Replay-Failed")?,
            error: name("Error")?,
        })
    }

    /// Whether servers may take `name` for one that says where a message ends, who sent it or for
    /// whom, which it is not.
    fn is_disguised(&self, name: &HeaderName) -> bool {
        if !is_odd(name.as_str()) {
            return false;
        }
        let read = fields::plain(name.as_str());
        fields::frames(&read) || is_of_proxies(&read) || self.sets(&read)
    }

    /// Whether we alone set the header `name`.
    fn sets(&self, name: &str) -> bool {
        let ours = [
            &X_FORWARDED_FOR,
            &X_FORWARDED_PROTO,
            &X_FORWARDED_SSL,
            &self.client_ip,
            &self.forwarded_port,
            &self.region,
            &self.preferred_instance_unavailable,
            &self.replay_src,
            &self.replay_failed,
        ];
        ours.iter().any(|ours| ours.as_str() == name)
    }

    /// Takes what tells our own answers apart out of one that is not ours.
    pub(crate) fn disown(&self, headers: &mut HeaderMap) {
        if headers.keys().any(|name| *name == self.error) {
            headers.remove(&self.error);
        }
    }

    /// Takes out of a request's trailers what must stand before its body, and what we alone say.
    pub(crate) fn check_trailers(&self, trailers: &mut HeaderMap) {
        fields::strip_trailers(trailers);
        let is_forged = |name: &&HeaderName| {
            let text = name.as_str();
            is_of_proxies(text) || self.sets(text) || self.is_disguised(name)
        };
        let forged: Vec<_> = trailers.keys().filter(is_forged).cloned().collect();
        for name in forged {
            trailers.remove(name);
        }
    }
}

/// What every request of one client connection is told about it.
pub(crate) struct ClientFacts {
    names: Arc<HeaderNames>,
    region: Option<HeaderValue>,
    client_ip: HeaderValue,
    port: HeaderValue,
    is_tls: bool,
    /// The client is a proxy whose word on its own client is taken.
    is_trusted: bool,
}

impl ClientFacts {
    /// Headers that they become.
    pub(crate) const MOST: usize = 7;

    /// Of the connection between `endpoints`, to a node in `region`.
    pub(crate) fn new(
        names: Arc<HeaderNames>,
        region: Option<HeaderValue>,
        endpoints: &Endpoints,
        is_tls: bool,
        is_trusted: bool,
    ) -> Self {
        Self {
            names,
            region,
            client_ip: HeaderValue::try_from(endpoints.client.ip().to_string())
                .expect("an address consists of visible characters"),
            port: HeaderValue::from(endpoints.server.port()),
            is_tls,
            is_trusted,
        }
    }

    pub(crate) fn names(&self) -> &HeaderNames {
        &self.names
    }

    /// Takes out what only we may say.
    fn strip(&self, headers: &mut HeaderMap, found: FoundFields) {
        let names = &*self.names;
        let is_told = found.of_proxies && !self.is_trusted;
        if found.odd || is_told {
            let is_forged = |name: &&HeaderName| {
                let is_strange = is_told && is_of_proxies(name.as_str());
                is_strange && **name != X_FORWARDED_PORT || names.is_disguised(name)
            };
            for name in headers.keys().filter(is_forged).cloned().collect::<Vec<_>>() {
                headers.remove(name);
            }
        }
        if found.ours {
            headers.remove(&names.region);
            headers.remove(&names.preferred_instance_unavailable);
            headers.remove(&names.replay_src);
            headers.remove(&names.replay_failed);
        }
    }

    /// Adds, row by row, what `reference/fly-public-network-services.md` lists under "HTTP
    /// handler".
    pub(crate) fn describe(&self, headers: &mut HeaderMap) {
        let names = &*self.names;
        let (proto, ssl) = if self.is_https(headers) { ("https", "on") } else { ("http", "off") };
        headers.insert(names.client_ip.clone(), self.client_ip.clone());
        let forwarded_for = self.forwarded_for(headers);
        headers.insert(X_FORWARDED_FOR, forwarded_for);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        headers.insert(X_FORWARDED_SSL, HeaderValue::from_static(ssl));
        let port = headers.entry(X_FORWARDED_PORT);
        port.or_insert_with(|| self.port.clone());
        headers.insert(names.forwarded_port.clone(), self.port.clone());
        if let Some(region) = &self.region {
            headers.insert(names.region.clone(), region.clone());
        }
    }

    /// Whether the request was made by https: to us, or to a trusted proxy before us.
    pub(crate) fn is_https(&self, headers: &HeaderMap) -> bool {
        let told = if self.is_trusted { scheme::is_https(headers) } else { None };
        told.unwrap_or(self.is_tls)
    }

    /// Tells of the certificate that the client showed, beside those that a trusted proxy was
    /// shown.
    pub(crate) fn certify(&self, headers: &mut HeaderMap, certificate: HeaderValue) {
        // Strangers' were taken out.
        let earlier = headers.get_all(X_FORWARDED_CLIENT_CERT).iter().map(HeaderValue::as_bytes);
        let all: Vec<_> = earlier.chain([certificate.as_bytes()]).collect();
        let all = HeaderValue::from_maybe_shared(hyper::body::Bytes::from(all.join(&b","[..])));
        headers.insert(X_FORWARDED_CLIENT_CERT, all.unwrap_or(certificate));
    }

    /// A trusted proxy's list, which may span several lines, with that proxy at its end. Of others
    /// the client alone.
    fn forwarded_for(&self, headers: &HeaderMap) -> HeaderValue {
        if !self.is_trusted {
            return self.client_ip.clone();
        }
        let mut earlier = headers.get_all(X_FORWARDED_FOR).iter().peekable();
        if earlier.peek().is_none() {
            return self.client_ip.clone();
        }
        let mut list = Vec::new();
        for value in earlier.filter(|value| !value.is_empty()) {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(self.client_ip.as_bytes());
        HeaderValue::from_maybe_shared(hyper::body::Bytes::from(list))
            .expect("made of header values, comma and space")
    }
}

/// What a request asks for beside its target.
pub(crate) struct RequestOptions {
    /// The protocols that it offers to switch to.
    pub upgrade: Option<Box<HeaderValue>>,
    /// To be told before the body is sent that it is wanted.
    pub word: bool,
    /// Trailers are announced.
    pub trailers: bool,
}

/// Readies the headers of a request that came by `version` for an HTTP/1.1 backend, but for what
/// [`ClientFacts::describe`] adds.
pub(crate) fn towards_backend(
    headers: &mut HeaderMap,
    found: FoundFields,
    facts: &ClientFacts,
    version: Version,
) -> RequestOptions {
    let wants_trailers = found.te && fields::accepts_trailers(headers);
    let upgrade = fields::strip_hop_by_hop(headers, found);
    // HTTP/1.0 does not know it (RFC 9110 7.8).
    let upgrade = upgrade.filter(|_| version > Version::HTTP_10).map(Box::new);
    if found.te {
        headers.remove(header::TE);
    }
    if found.cookie && version == Version::HTTP_2 {
        fields::join_cookie(headers);
    }
    // What hyper's server takes for it. Where the backend is to be asked, it comes back.
    let expected = if found.expect { headers.remove(header::EXPECT) } else { None };
    let word = expected.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    facts.strip(headers, found);
    if let Some(protocols) = &upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, (**protocols).clone());
    } else if wants_trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    RequestOptions { upgrade, word, trailers: found.trailer }
}

/// Header lines as HTTP/1.1 writes them.
pub(crate) fn write(headers: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in headers {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
}
