//! `force_https`: the same place over https.

use hyper::{Uri, header::HeaderValue};

use super::host::Host;

/// `https://host/path?query`. The host is the validated one without its port, and the path begins
/// with `/`, so that nothing in the request can lead to another host or into another header.
pub(super) fn to_https(host: &Host<'_>, uri: &Uri) -> HeaderValue {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    HeaderValue::try_from(format!("https://{}{path}", host.name()))
        .expect("host and path consist of visible characters")
}
