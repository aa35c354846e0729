//! By which scheme a client asked a proxy in front of us, as that proxy says it.

use hyper::{
    HeaderMap,
    header::{self, HeaderName},
};

pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_SSL: HeaderName = HeaderName::from_static("x-forwarded-ssl");

/// Whether that was https. Of a list, which may span several lines, the first is the client's own:
/// each further proxy adds how it was asked itself. `None`: nothing that we understand.
pub(crate) fn is_https(headers: &HeaderMap) -> Option<bool> {
    let proto = || of_scheme(first(headers, &X_FORWARDED_PROTO)?);
    let forwarded = || of_scheme(parameter(first(headers, &header::FORWARDED)?, b"proto")?);
    let ssl = || of_switch(first(headers, &X_FORWARDED_SSL)?);
    proto().or_else(forwarded).or_else(ssl)
}

/// The first that is not empty.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let values = headers.get_all(name).iter();
    let mut items = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    items.by_ref().map(<[u8]>::trim_ascii).find(|item| !item.is_empty())
}

/// Of an element of `Forwarded` (RFC 7239 4).
fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    element.split(|&byte| byte == b';').find_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// A WebSocket's scheme is that of the request it begins with (RFC 6455 3).
fn of_scheme(scheme: &[u8]) -> Option<bool> {
    let scheme = scheme.strip_prefix(b"\"").unwrap_or(scheme);
    let scheme = scheme.strip_suffix(b"\"").unwrap_or(scheme);
    match scheme.to_ascii_lowercase().as_slice() {
        b"https" | b"wss" => Some(true),
        b"http" | b"ws" => Some(false),
        _ => None,
    }
}

fn of_switch(switch: &[u8]) -> Option<bool> {
    match switch.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn whatever_proxies_write_is_understood() {
        for (lines, expected) in [
            (&[][..], None),
            (&["x-forwarded-proto: https"][..], Some(true)),
            (&["x-forwarded-proto: HTTPS"], Some(true)),
            (&["x-forwarded-proto: wss"], Some(true)),
            (&["x-forwarded-proto: ws"], Some(false)),
            (&["x-forwarded-proto: https,https"], Some(true)),
            (&["x-forwarded-proto: https , http"], Some(true)),
            (&["x-forwarded-proto: http, https"], Some(false)),
            (&["x-forwarded-proto: https", "x-forwarded-proto: http"], Some(true)),
            (&["x-forwarded-proto: ,https"], Some(true)),
            (&["x-forwarded-proto: \"https\""], Some(true)),
            (&["x-forwarded-proto: gopher"], None),
            (&["x-forwarded-proto: gopher", "x-forwarded-ssl: on"], Some(true)),
            (&["x-forwarded-proto: https", "x-forwarded-ssl: off"], Some(true)),
            (&["x-forwarded-ssl: On"], Some(true)),
            (&["x-forwarded-ssl: off"], Some(false)),
            (&["forwarded: for=192.0.2.1;Proto=https;by=203.0.113.1"], Some(true)),
            (&["forwarded: for=\"[2001:db8::1]\"; proto=\"http\", proto=https"], Some(false)),
            (&["forwarded: for=192.0.2.1"], None),
            (&["forwarded: proto=http", "x-forwarded-proto: https"], Some(true)),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                );
            }
            assert_eq!(is_https(&headers), expected, "{lines:?}");
        }
    }
}
