//! Requests whose body ends where no two readers may see it differently. What hyper refuses by
//! itself (bad lengths, codings that do not end in chunks, folded lines, spaces before a colon)
//! never comes here.

use hyper::{
    HeaderMap, Method, Request,
    body::{Body, Incoming},
    header::{self, HeaderValue},
};

use super::{answer::Fault, host};

/// Refuses what hyper lets through and somebody else may understand otherwise. `seen` is what the
/// witness says of the header section.
pub(super) fn check(request: &Request<Incoming>, seen: Result<(), Fault>) -> Result<(), Fault> {
    let headers = request.headers();
    seen?;
    if !has_known_target(request) {
        return Err(Fault::BadTarget);
    }
    if !host::is_one(request) {
        return Err(Fault::BadHost);
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

/// `*` is for OPTIONS alone (RFC 9112 3.2.4), and of what other schemes mean we know nothing.
fn has_known_target<B>(request: &Request<B>) -> bool {
    let target = request.uri();
    let is_web = |scheme| scheme == "http" || scheme == "https";
    target.scheme_str().is_none_or(is_web)
        && (target.path() != "*" || request.method() == Method::OPTIONS)
}

/// The size of an HTTP/2 request's header section as RFC 9113 10.5.1 has it: each field's name and
/// value, and 32 bytes.
pub(super) fn section_size<B>(request: &Request<B>) -> usize {
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

/// One coding, once, and nothing with it (RFC 9112 7.1: the only one that every reader knows).
fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_none_or(is_chunked) && codings.next().is_none()
}

fn parse(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Says the framing towards the backend once, and as it is: `length` bytes, or chunks.
pub(super) fn frame(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(length) => {
            // Also where `Connection` named it away.
            if length > 0 || headers.contains_key(header::CONTENT_LENGTH) {
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
