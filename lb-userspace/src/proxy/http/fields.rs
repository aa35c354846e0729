//! What there is among a message's header fields, and which of them end here.

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

pub(crate) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// What begins so is said by proxies, of a client that they know.
const X_FORWARDED: &str = "x-forwarded-";
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What there is among a message's headers. One look at all names is cheaper than a search for
/// each, and most messages have few of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct FoundFields {
    connection: bool,
    keep_alive: bool,
    proxy_connection: bool,
    upgrade: bool,
    /// `HTTP2-Settings`.
    settings: bool,
    /// `Transfer-Encoding`.
    coding: bool,
    pub te: bool,
    pub expect: bool,
    pub trailer: bool,
    /// `Content-Length` or `Transfer-Encoding`.
    pub framing: bool,
    pub cookie: bool,
    /// Names that begin like ours.
    pub ours: bool,
    /// Names by which proxies tell of their clients.
    pub of_proxies: bool,
    /// Names that servers may take for others.
    pub odd: bool,
}

impl FoundFields {
    /// Names like ours are those that begin with `prefix`, in lower case.
    pub(crate) fn in_request(headers: &HeaderMap, prefix: &str) -> Self {
        let mut found = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            if !found.note(name) {
                found.ours |= name.starts_with(prefix);
                found.of_proxies |= is_of_proxies(name);
                found.odd |= is_odd(name);
            }
        }
        found
    }

    /// Without what matters in requests alone.
    fn in_others(headers: &HeaderMap) -> Self {
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
            "cookie" => self.cookie = true,
            "content-length" => self.framing = true,
            "transfer-encoding" => (self.framing, self.coding) = (true, true),
            "connection" => self.connection = true,
            "keep-alive" => self.keep_alive = true,
            "proxy-connection" => self.proxy_connection = true,
            "upgrade" => self.upgrade = true,
            "http2-settings" => self.settings = true,
            _ => return false,
        }
        true
    }
}

/// Whether there is something in `name` that servers may read like `-`: those that hand headers on
/// as variables have `_` for it (RFC 3875 4.1.18), many for whatever is neither letter nor digit.
pub(crate) fn is_odd(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.bytes().fold(false, |is_odd, byte| is_odd | !is_plain(byte))
}

/// An odd `name` as such a server may read it.
pub(crate) fn plain(name: &str) -> String {
    name.bytes().map(|it| if it.is_ascii_alphanumeric() { it as char } else { '-' }).collect()
}

/// Whether `name` says where a message ends, or what concerns its connection.
pub(crate) fn frames(name: &str) -> bool {
    FoundFields::default().note(name)
}

/// Whether `name` is one by which proxies tell of their client.
pub(crate) fn is_of_proxies(name: &str) -> bool {
    name.starts_with(X_FORWARDED) || matches!(name, "forwarded" | "x-real-ip")
}

/// Takes out what concerns one connection only (RFC 9110 7.6.1), and returns the protocols that an
/// `Upgrade` offers.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, found: FoundFields) -> Option<HeaderValue> {
    let named = if found.connection { connection_options(headers) } else { Vec::new() };
    for name in named.iter().filter(|name| **name != header::HOST) {
        if *name != header::UPGRADE {
            headers.remove(name);
        }
    }
    if found.keep_alive {
        headers.remove(KEEP_ALIVE);
    }
    if found.proxy_connection {
        headers.remove(PROXY_CONNECTION);
    }
    if found.settings {
        headers.remove(HTTP2_SETTINGS);
    }
    if found.coding && headers.remove(header::TRANSFER_ENCODING).is_some() {
        // It says nothing beside the other (RFC 9112 6.3), and may be wrong.
        headers.remove(header::CONTENT_LENGTH);
    }
    if !found.upgrade {
        return None;
    }
    let offered = offered(headers);
    headers.remove(header::UPGRADE);
    offered.filter(|_| named.contains(&header::UPGRADE))
}

/// Removes `Connection` and returns what it named.
fn connection_options(headers: &mut HeaderMap) -> Vec<HeaderName> {
    let header::Entry::Occupied(connection) = headers.entry(header::CONNECTION) else {
        return Vec::new();
    };
    let (_, values) = connection.remove_entry_mult();
    let mut named = Vec::new();
    for value in values {
        // The two that every message may have name no header that we would not take out anyway.
        let is_usual = |option: &&[u8]| {
            option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
        };
        let names = listed(&value).filter(|option| !is_usual(option));
        named.extend(names.map(HeaderName::from_bytes).filter_map(Result::ok));
    }
    named
}

/// The protocols of all `Upgrade` lines, but for those that are HTTP again, or TLS with HTTP in it:
/// a server that switches to one of them serves requests that we never see.
fn offered(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut offered = Vec::new();
    for value in headers.get_all(header::UPGRADE) {
        for protocol in listed(value).filter(|protocol| is_protocol(protocol)) {
            if !offered.is_empty() {
                offered.extend_from_slice(b", ");
            }
            offered.extend_from_slice(protocol);
        }
    }
    if offered.is_empty() { None } else { HeaderValue::from_bytes(&offered).ok() }
}

/// Whether a connection may switch to `protocol`: a token, perhaps with a version.
pub(crate) fn is_protocol(protocol: &[u8]) -> bool {
    const HTTP: [&[u8]; 5] = [b"h2c", b"h2", b"h3", b"http", b"tls"];
    let (name, version) = named(protocol);
    let is_token = |part: &[u8]| HeaderName::from_bytes(part).is_ok();
    let is_http = HTTP.iter().any(|http| name.eq_ignore_ascii_case(http));
    is_token(name) && version.is_none_or(is_token) && !is_http
}

/// Whether all that a `101` says is among what was offered (RFC 9110 7.8).
pub(crate) fn is_offered(switched: &HeaderValue, offered: &HeaderValue) -> bool {
    let is_among = |protocol: &[u8]| {
        let is_same = |other: &[u8]| named(other).0.eq_ignore_ascii_case(named(protocol).0);
        listed(offered).any(is_same)
    };
    listed(switched).all(is_among)
}

fn named(protocol: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = protocol.splitn(2, |&byte| byte == b'/');
    (parts.next().unwrap_or_default(), parts.next())
}

/// What a list has in it (RFC 9110 5.6.1).
fn listed(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let parts = value.as_bytes().split(|&byte| byte == b',');
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// One coding, once, and nothing with it (RFC 9112 7.1: the only one that every reader knows).
pub(crate) fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

/// Makes one line of a cookie that HTTP/2 has in several (RFC 9113 8.2.3).
pub(crate) fn join_cookie(headers: &mut HeaderMap) {
    let header::Entry::Occupied(mut cookie) = headers.entry(header::COOKIE) else {
        return;
    };
    if cookie.iter().nth(1).is_none() {
        return;
    }
    let mut whole = Vec::new();
    for crumb in cookie.iter().filter(|crumb| !crumb.is_empty()) {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(crumb.as_bytes());
    }
    let whole = HeaderValue::from_maybe_shared(hyper::body::Bytes::from(whole));
    cookie.insert(whole.expect("made of header values, semicolon and space"));
}

/// Takes out of trailers what is of no use or does harm there: what frames, routes or authenticates
/// a message, says how to read it, or is about the connection (RFC 9110 6.5.1).
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
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
    let found = FoundFields::in_others(trailers);
    strip_hop_by_hop(trailers, found);
    for name in BEFORE {
        trailers.remove(name);
    }
}

pub(crate) fn accepts_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter();
    values.any(|value| listed(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")))
}

/// A body with another transfer coding than chunks.
pub(crate) struct UnsupportedCoding;

/// Readies a response's headers for the client.
///
/// # Errors
/// [`UnsupportedCoding`]: we ask for no coding (RFC 9112 7.4), and nothing would tell the client
/// how to read it.
pub(crate) fn towards_client(
    headers: &mut HeaderMap,
    is_switching: bool,
) -> Result<(), UnsupportedCoding> {
    let found = FoundFields::in_others(headers);
    if found.coding && !is_chunked_alone(headers) {
        return Err(UnsupportedCoding);
    }
    let upgrade = strip_hop_by_hop(headers, found);
    if found.te {
        headers.remove(header::TE);
    }
    if let Some(protocol) = upgrade.filter(|_| is_switching) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    Ok(())
}
