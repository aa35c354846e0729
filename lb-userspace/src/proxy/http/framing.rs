//! Requests whose body ends where no two readers may see it differently. What hyper refuses by
//! itself (bad lengths, codings that do not end in chunks, folded lines, spaces before a colon)
//! never comes here.

use hyper::{
    HeaderMap, Method, Request, Version,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    http::uri::PathAndQuery,
};

use super::{
    fault::Fault,
    fields::{FoundFields, is_chunked_alone},
    host,
};

/// Refuses what hyper lets through and somebody else may understand otherwise. `seen` is what the
/// scanner says of the header section.
pub(crate) fn check(
    request: &Request<Incoming>,
    seen: Result<(), Fault>,
    found: FoundFields,
) -> Result<(), Fault> {
    let headers = request.headers();
    seen?;
    if !has_known_target(request) {
        return Err(Fault::BadTarget);
    }
    if !host::is_one(request) {
        return Err(Fault::BadHost);
    }
    if !found.framing {
        return Ok(());
    }
    if !is_chunked_alone(headers) {
        return Err(Fault::BadCoding);
    }
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    if is_coded && headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Fault::TwoFramings);
    }
    // Over HTTP/2 the body may end with the header section, whatever that says of its length.
    let length = request.body().size_hint().exact();
    let mut said = headers.get_all(header::CONTENT_LENGTH).iter();
    if said.all(|said| parse(said.as_bytes()) == length) { Ok(()) } else { Err(Fault::BadLength) }
}

/// Whether the target has one of the forms of RFC 9112 3.2 that we serve. `*` is for OPTIONS alone,
/// and of what other schemes mean we know nothing. hyper takes `x` for an authority, which nothing
/// but CONNECT asks for, and HTTP/2's `?x` or nothing at all for what begins with a slash.
fn has_known_target<B>(request: &Request<B>) -> bool {
    let target = request.uri();
    if request.method() == Method::CONNECT {
        return true;
    }
    let path = target.path_and_query().map_or("", PathAndQuery::as_str);
    match target.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return false,
        None if target.path().is_empty() => return false,
        None => {}
    }
    match path.as_bytes().first() {
        Some(b'/') => true,
        Some(b'*') => request.method() == Method::OPTIONS,
        // An absolute target may have a query without a path.
        Some(b'?') => request.version() < Version::HTTP_2,
        _ => false,
    }
}

/// What h2 lets through of an HTTP/2 request's header section.
pub(crate) fn check_section<B>(request: &Request<B>, most: usize) -> Result<(), Fault> {
    if section_size(request) > most {
        return Err(Fault::HeaderTooLarge);
    }
    // HTTP/1.1 takes them away, so that a value would become another one (RFC 9113 8.2.1).
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = request.headers().values().map(HeaderValue::as_bytes);
    let is_padded = values.any(|value| is_space(value.first()) || is_space(value.last()));
    if is_padded { Err(Fault::BadHeader) } else { Ok(()) }
}

/// The size of an HTTP/2 request's header section as RFC 9113 10.5.1 has it: each field's name and
/// value, and 32 bytes.
fn section_size<B>(request: &Request<B>) -> usize {
    const EACH: usize = 32;
    let target = request.uri();
    let authority =
        target.authority().map_or(0, |it| ":authority".len() + it.as_str().len() + EACH);
    let path = target.path_and_query().map_or(0, |it| ":path".len() + it.as_str().len() + EACH);
    let line = ":method".len() + request.method().as_str().len() + ":scheme".len() + 2 * EACH;
    let fields = request.headers().iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + EACH).sum();
    authority + path + line + target.scheme_str().map_or(0, str::len) + fields
}

fn parse(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Whether servers expect a length with `method`, also without a body (RFC 9110 8.6). HTTP/2 need
/// not say it.
pub(crate) fn wants_length(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Says the framing towards the backend once, and as it is: `length` bytes, or chunks.
/// Where the length is `usual`, so is one of nothing.
pub(crate) fn frame(headers: &mut HeaderMap, found: FoundFields, usual: bool, length: Option<u64>) {
    match length {
        Some(length) => {
            let is_said = || found.framing && headers.contains_key(header::CONTENT_LENGTH);
            // Also where `Connection` named it away.
            if length > 0 || usual || is_said() {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            // Said aloud, because hyper takes a GET without either for one without a body.
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
    }
}
