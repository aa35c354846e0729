//! Which headers reach the backend and the client.

use std::sync::Arc;

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue, InvalidHeaderName},
};

use super::{origin::Origin, replay, worker::Worker};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SSL: HeaderName = HeaderName::from_static("x-forwarded-ssl");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The headers under the configured prefix, `Fly-` unless set otherwise.
pub(super) struct Names {
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

impl Names {
    pub fn new(prefix: &str) -> Result<Self, InvalidHeaderName> {
        let name = |rest| HeaderName::try_from(format!("{prefix}{rest}"));
        Ok(Self {
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

    /// Whether `name` is one that we alone set. Servers that hand headers on as variables read `_`
    /// like `-` (RFC 3875 4.1.18), and so would take a forged one for ours.
    fn is_disguised(&self, name: &HeaderName) -> bool {
        if !name.as_str().contains('_') {
            return false;
        }
        self.sets(&name.as_str().replace('_', "-"))
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

    /// Takes out of a request's trailers what must stand before its body, and what we alone say.
    pub fn check_trailers(&self, trailers: &mut HeaderMap) {
        strip_trailers(trailers);
        let is_forged = |name: &&HeaderName| self.sets(name.as_str()) || self.is_disguised(name);
        let forged: Vec<_> = trailers.keys().filter(is_forged).cloned().collect();
        for name in forged {
            trailers.remove(name);
        }
    }
}

/// What every request of one client connection is told about it.
pub(super) struct Facts {
    names: Arc<Names>,
    region: Option<HeaderValue>,
    client_ip: HeaderValue,
    port: HeaderValue,
    is_tls: bool,
    /// The client is a proxy whose word on its own client is taken.
    is_trusted: bool,
}

impl Facts {
    pub fn new(worker: &Worker, origin: &Origin, is_tls: bool) -> Self {
        let client = origin.client.ip();
        Self {
            names: worker.names.clone(),
            region: worker.region.clone(),
            client_ip: HeaderValue::try_from(client.to_string())
                .expect("an address consists of visible characters"),
            port: HeaderValue::from(origin.server.port()),
            is_tls,
            is_trusted: worker.settings.is_trusted(client),
        }
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Row by row what `reference/fly-public-network-services.md` lists under "HTTP handler".
    pub fn describe(&self, headers: &mut HeaderMap) {
        let names = &*self.names;
        let disguised: Vec<_> =
            headers.keys().filter(|it| names.is_disguised(it)).cloned().collect();
        for name in disguised {
            headers.remove(name);
        }
        let (proto, ssl) = if self.is_https(headers) { ("https", "on") } else { ("http", "off") };
        headers.insert(names.client_ip.clone(), self.client_ip.clone());
        let forwarded_for = self.forwarded_for(headers);
        headers.insert(X_FORWARDED_FOR, forwarded_for);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        headers.insert(X_FORWARDED_SSL, HeaderValue::from_static(ssl));
        let port = headers.entry(X_FORWARDED_PORT);
        port.or_insert_with(|| self.port.clone());
        headers.insert(names.forwarded_port.clone(), self.port.clone());
        match &self.region {
            Some(region) => {
                headers.insert(names.region.clone(), region.clone());
            }
            None => {
                headers.remove(&names.region);
            }
        }
        headers.remove(&names.preferred_instance_unavailable);
        replay::strip(headers, names);
    }

    /// Whether the request was made by https: to us, or to a trusted proxy before us.
    pub fn is_https(&self, headers: &HeaderMap) -> bool {
        let told = self.is_trusted.then(|| headers.get(X_FORWARDED_PROTO)).flatten();
        match told.map(HeaderValue::as_bytes) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => true,
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => false,
            _ => self.is_tls,
        }
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

/// Headers that concern one connection only. One look at all names is cheaper than a search for
/// each, and most messages have none of them.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Some that are not named below.
    any: bool,
    te: bool,
    expect: bool,
    trailer: bool,
}

impl Found {
    fn among(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "te" => found.te = true,
                "expect" => found.expect = true,
                "trailer" => found.trailer = true,
                "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding"
                | "upgrade" => found.any = true,
                _ => {}
            }
        }
        found
    }
}

/// Takes out what concerns one connection only (RFC 9110 7.6.1), and returns the protocol that an
/// `Upgrade` asked for. `h2c` is not passed on: the backend would speak HTTP/2 behind our back.
fn strip_hop_by_hop(headers: &mut HeaderMap, found: Found) -> Option<HeaderValue> {
    if !found.any {
        return None;
    }
    let named = connection_options(headers);
    let asks = named.contains(&header::UPGRADE);
    for name in named.iter().filter(|name| **name != header::HOST) {
        if *name != header::UPGRADE {
            headers.remove(name);
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        // It says nothing beside the other (RFC 9112 6.3), and may be wrong.
        headers.remove(header::CONTENT_LENGTH);
    }
    let upgrade = headers.remove(header::UPGRADE)?;
    let is_h2c = upgrade.as_bytes().to_ascii_lowercase().starts_with(b"h2c");
    (asks && !is_h2c).then_some(upgrade)
}

/// Removes `Connection` and returns what it named.
fn connection_options(headers: &mut HeaderMap) -> Vec<HeaderName> {
    let header::Entry::Occupied(connection) = headers.entry(header::CONNECTION) else {
        return Vec::new();
    };
    let (_, values) = connection.remove_entry_mult();
    let mut named = Vec::new();
    for value in values {
        let options = value.as_bytes().split(|&byte| byte == b',');
        // The two that every message may have name no header that we would not take out anyway.
        let is_usual = |option: &&[u8]| {
            option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
        };
        let names = options.map(<[u8]>::trim_ascii).filter(|option| !is_usual(option));
        named.extend(names.map(HeaderName::from_bytes).filter_map(Result::ok));
    }
    named
}

/// What a request asks for beside its target.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub upgrade: bool,
    /// To be told before the body is sent that it is wanted.
    pub word: bool,
    /// Trailers are announced.
    pub trailers: bool,
}

/// Readies a request's headers for an HTTP/1.1 backend.
pub(super) fn towards_backend(headers: &mut HeaderMap, facts: &Facts) -> Asked {
    let found = Found::among(headers);
    let wants_trailers = found.te && accepts_trailers(headers);
    let upgrade = strip_hop_by_hop(headers, found);
    if found.te {
        headers.remove(header::TE);
    }
    // What hyper's server takes for it. Where the backend is to be asked, it comes back.
    let expected = if found.expect { headers.remove(header::EXPECT) } else { None };
    let word = expected.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    facts.describe(headers);
    let is_upgrade = upgrade.is_some();
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    } else if wants_trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Asked { upgrade: is_upgrade, word, trailers: found.trailer }
}

/// Header lines as HTTP/1.1 writes them.
pub(super) fn write(headers: &HeaderMap, to: &mut Vec<u8>) {
    for (name, value) in headers {
        to.extend_from_slice(name.as_str().as_bytes());
        to.extend_from_slice(b": ");
        to.extend_from_slice(value.as_bytes());
        to.extend_from_slice(b"\r\n");
    }
}

/// Takes out of trailers what is of no use or does harm there: what frames, routes or authenticates a
/// message, says how to read it, or is about the connection (RFC 9110 6.5.1).
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    const BEFORE: [HeaderName; 13] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::COOKIE,
        header::TE,
        header::TRAILER,
    ];
    let found = Found { any: true, ..Found::default() };
    strip_hop_by_hop(trailers, found);
    for name in BEFORE {
        trailers.remove(name);
    }
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter();
    values.any(|value| {
        let mut codings = value.as_bytes().split(|&byte| byte == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// Readies a response's headers for the client.
pub(super) fn towards_client(headers: &mut HeaderMap, is_switching: bool) {
    let found = Found::among(headers);
    let upgrade = strip_hop_by_hop(headers, found);
    if let Some(protocol) = upgrade.filter(|_| is_switching) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}
