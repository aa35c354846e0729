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

impl Names {
    pub fn new(prefix: &str) -> Result<Self, InvalidHeaderName> {
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

    /// Takes what tells our own answers apart out of one that is not ours.
    pub fn disown(&self, headers: &mut HeaderMap) {
        if headers.keys().any(|name| *name == self.error) {
            headers.remove(&self.error);
        }
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
    /// Headers that they become.
    pub const MOST: usize = 7;

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

    /// Takes out what only we may say.
    fn strip(&self, headers: &mut HeaderMap, found: Found) {
        let names = &*self.names;
        if found.underscored {
            let disguised = headers.keys().filter(|it| names.is_disguised(it));
            for name in disguised.cloned().collect::<Vec<_>>() {
                headers.remove(name);
            }
        }
        if found.ours {
            headers.remove(&names.region);
            headers.remove(&names.preferred_instance_unavailable);
            replay::strip(headers, names);
        }
    }

    /// Adds, row by row, what `reference/fly-public-network-services.md` lists under "HTTP
    /// handler".
    pub fn describe(&self, headers: &mut HeaderMap) {
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

/// What there is among a message's headers. One look at all names is cheaper than a search for
/// each, and most messages have few of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    /// Some that concern one connection only and are not named below.
    hop_by_hop: bool,
    te: bool,
    expect: bool,
    trailer: bool,
    /// `Content-Length` or `Transfer-Encoding`.
    pub framing: bool,
    /// Names that begin like ours.
    ours: bool,
    /// Names that servers may take for others, see [`Names::is_disguised`].
    underscored: bool,
}

impl Found {
    /// Names like ours are those that begin with `prefix`, in lower case.
    pub fn in_request(headers: &HeaderMap, prefix: &str) -> Self {
        let mut found = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            if !found.note(name) {
                found.ours |= name.starts_with(prefix);
                found.underscored |= name.contains('_');
            }
        }
        found
    }

    fn in_response(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            found.note(name.as_str());
        }
        found
    }

    /// Whether `name` is one that matters whoever says it.
    fn note(&mut self, name: &str) -> bool {
        match name {
            "te" => self.te = true,
            "expect" => self.expect = true,
            "trailer" => self.trailer = true,
            "content-length" => self.framing = true,
            "transfer-encoding" => (self.framing, self.hop_by_hop) = (true, true),
            "connection" | "keep-alive" | "proxy-connection" | "upgrade" => self.hop_by_hop = true,
            _ => return false,
        }
        true
    }
}

/// Takes out what concerns one connection only (RFC 9110 7.6.1), and returns the protocol that an
/// `Upgrade` asked for. `h2c` is not passed on: the backend would speak HTTP/2 behind our back.
fn strip_hop_by_hop(headers: &mut HeaderMap, found: Found) -> Option<HeaderValue> {
    if !found.hop_by_hop {
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

/// Readies a request's headers for an HTTP/1.1 backend, but for what [`Facts::describe`] adds.
pub(super) fn towards_backend(headers: &mut HeaderMap, found: Found, facts: &Facts) -> Asked {
    let wants_trailers = found.te && accepts_trailers(headers);
    let upgrade = strip_hop_by_hop(headers, found);
    if found.te {
        headers.remove(header::TE);
    }
    // What hyper's server takes for it. Where the backend is to be asked, it comes back.
    let expected = if found.expect { headers.remove(header::EXPECT) } else { None };
    let word = expected.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    facts.strip(headers, found);
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
    let found = Found { hop_by_hop: true, ..Found::default() };
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
    let found = Found::in_response(headers);
    let upgrade = strip_hop_by_hop(headers, found);
    if found.te {
        headers.remove(header::TE);
    }
    if let Some(protocol) = upgrade.filter(|_| is_switching) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}
