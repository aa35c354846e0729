//! The name that a request is for.

use std::net::SocketAddr;

use hyper::{
    Request, Uri, Version,
    header::{self, HeaderValue},
};

/// A validated `Host` or `:authority` (RFC 9110 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    authority: &'a str,
    name_length: usize,
}

impl<'a> Authority<'a> {
    /// A name or address with an optional port; no user information.
    pub(crate) fn parse(authority: &'a str) -> Option<Self> {
        let name_length = match authority.strip_prefix('[') {
            Some(rest) => {
                let inner = &rest[..rest.find(']')?];
                inner.parse::<std::net::Ipv6Addr>().ok()?;
                inner.len() + 2
            }
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (name, port) = authority.split_at(name_length);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name_is_valid =
            name.starts_with('[') || (name.bytes().all(is_name) && !name.is_empty());
        let port_is_valid = match port.strip_prefix(':') {
            Some(digits) => digits.is_empty() || digits.parse::<u16>().is_ok(),
            None => port.is_empty(),
        };
        (name_is_valid && port_is_valid).then_some(Self { authority, name_length })
    }

    /// Without the port.
    pub(crate) fn name(&self) -> &'a str {
        &self.authority[..self.name_length]
    }
}

/// The authority of a request: `:authority` or an absolute target where there is one, else the one
/// `Host`. `None` where it is missing, double or malformed.
pub(crate) fn of<B>(request: &Request<B>) -> Option<Authority<'_>> {
    if let Some(authority) = request.uri().authority() {
        return Authority::parse(authority.as_str());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    if hosts.next().is_some() {
        return None;
    }
    Authority::parse(host)
}

/// Whether the request names one host only: one line, which HTTP/1.1 must have (RFC 9112 3.2), and
/// over HTTP/2 the same as `:authority` (RFC 9113 8.3.1). Over HTTP/1 an absolute target counts,
/// and the line does not.
pub(crate) fn is_one<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    let agrees = match (host, authority) {
        (Some(host), Some(authority)) => {
            host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())
        }
        (None, None) => request.version() != Version::HTTP_11,
        _ => true,
    };
    another.is_none() && agrees
}

/// Whether the request names no host at all, which HTTP/1.0 allows.
pub(crate) fn is_none<B>(request: &Request<B>) -> bool {
    request.version() < Version::HTTP_11
        && request.uri().authority().is_none()
        && !request.headers().contains_key(header::HOST)
}

/// Says that the request is for the address that was asked.
pub(crate) fn assume<B>(request: &mut Request<B>, address: SocketAddr) {
    let host = match address {
        SocketAddr::V4(at) if at.port() == 80 => at.ip().to_string(),
        SocketAddr::V6(at) if at.port() == 80 => format!("[{}]", at.ip()),
        at => at.to_string(),
    };
    let host = HeaderValue::try_from(host).expect("an address consists of visible characters");
    request.headers_mut().insert(header::HOST, host);
}

/// Gives the request the form that goes to an origin server: `Host` says the authority, the target
/// is a path.
pub(crate) fn to_origin_form<B>(request: &mut Request<B>) {
    let Some(authority) = request.uri().authority() else {
        return;
    };
    let host = HeaderValue::from_str(authority.as_str()).expect("a parsed authority is visible");
    request.headers_mut().insert(header::HOST, host);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_port() {
        for (authority, name) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com:", "example.com"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("a_b.test", "a_b.test"),
        ] {
            assert_eq!(Authority::parse(authority).unwrap().name(), name);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for authority in [
            "",
            ":80",
            "a@b",
            "user:pass@host",
            "host/path",
            "a b",
            "host:80:80",
            "host:99999",
            "host:-1",
            "[::1",
            "[x]",
            "[::1]x",
            "a\\b",
            "a%2fb",
            "ex\u{e4}mple",
            "a,b",
            "a?b",
        ] {
            assert_eq!(Authority::parse(authority), None, "{authority:?}");
        }
    }
}
