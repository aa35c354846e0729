//! Host names, as clients send them in SNI and `Host`.

use std::{net::IpAddr, sync::Arc};

use crate::config::text::reader::Value;

/// Reads a host name and converts it to lower case: labels of up to 63 letters, digits and hyphens
/// (RFC 1123, 2.1), 253 bytes in all.
pub(crate) fn hostname(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    match mistake(text) {
        None => Some(text.to_ascii_lowercase().into()),
        Some(help) => value.refuse(format!("`{text}` is not a host name"), help),
    }
}

/// Returns what would be valid, unless `text` is.
fn mistake(text: &str) -> Option<&'static str> {
    if text == "*" {
        return Some("leave `hostnames` out for a service that takes every name");
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some("addresses go into `addresses`");
    }
    if text.contains([':', '/']) {
        return Some("write the name alone, without scheme, port or path");
    }
    if !text.is_ascii() {
        return Some("write it as DNS has it, in punycode: \"xn--…\"");
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Some("`*` may only stand for the whole leftmost label: \"*.example.com\"");
    }
    if name.ends_with('.') {
        return Some("write it without the final dot");
    }
    if text.len() > 253 {
        return Some("a host name has at most 253 bytes");
    }
    (!name.split('.').all(is_label))
        .then_some("labels are 1 to 63 letters, digits and inner `-`, with dots between them")
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
