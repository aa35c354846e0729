//! Ranges of addresses: `10.0.0.0/8`.

use std::net::IpAddr;

use crate::service::{Prefix, SourcePrefix};

use super::{reader::Value, section::Section};

const HELP: &str =
    "write an address and the number of bits that count: \"10.0.0.0/8\", \"2001:db8::/32\"";

/// An address without a length stands for itself alone.
pub(super) fn prefix(value: Value<'_>) -> Option<Prefix> {
    let text = value.text()?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return value.refuse(format!("`{text}` is not a range of addresses"), HELP);
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let message = format!("`{text}` is in IPv6 clothes: such addresses are never in a packet");
        return value.refuse(message, format!("write \"{v4}/…\""));
    }
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(longest), |length| length.parse().ok());
    let Some(prefix) = length.and_then(|length| Prefix::new(address, length)) else {
        return value.refuse(format!("`{text}` has no length from 0 to {longest}"), HELP);
    };
    if prefix.address() != address {
        let message = format!("`{text}` has bits behind its prefix");
        return value.refuse(message, format!("write \"{prefix}\""));
    }
    Some(prefix)
}

/// `prefix_v4` and `prefix_v6` of a section.
pub(super) fn source_prefix(section: &mut Section<'_>, default: SourcePrefix) -> SourcePrefix {
    let v4 = section.optional("prefix_v4", |it| it.number(0..=32_u8));
    let v6 = section.optional("prefix_v6", |it| it.number(0..=128_u8));
    SourcePrefix { v4: v4.unwrap_or(default.v4), v6: v6.unwrap_or(default.v6) }
}
