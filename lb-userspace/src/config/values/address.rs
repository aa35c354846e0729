//! Addresses: announced ones, and those of servers.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
};

use crate::config::text::reader::Value;

/// Reads an announced address: one that other hosts can send to.
pub(crate) fn anycast(value: Value<'_>) -> Option<IpAddr> {
    const HELP: &str = "write an address of this service's own, such as \"203.0.113.10\"";
    let text = value.text()?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let help = if text.parse::<SocketAddr>().is_ok() {
            "write the address alone: ports go into `ports`"
        } else {
            HELP
        };
        return value.refuse(format!("`{text}` is not an IP address"), help);
    };
    if address.is_loopback() {
        return value.refuse(format!("`{text}` is a loopback address"), HELP);
    }
    refuse_unreachable(value, address, HELP)
}

/// Reads `IP`, `[v6]`, `IP:port` or `[v6]:port`. Without a port the service's `internal_port`
/// applies.
pub(crate) fn server(value: Value<'_>) -> Option<(IpAddr, Option<NonZeroU16>)> {
    const HELP: &str =
        "write an IP address with or without a port: \"10.0.0.11:8080\", \"[2001:db8::11]:8080\"";
    let text = value.text()?;
    let (address, port) = match (text.parse::<SocketAddr>(), address_alone(text)) {
        (Ok(socket), _) => (socket.ip(), Some(socket.port())),
        (_, Some(address)) => (address, None),
        _ => {
            let message = format!("`{text}` is not the address of a server");
            let help = unbracketed(text).map(|meant| format!("write \"{meant}\""));
            return value.refuse(message, help.unwrap_or_else(|| HELP.to_owned()));
        }
    };
    let address = refuse_unreachable(value, address, HELP)?;
    if let Some(meant) = unbracketed(text).filter(|meant| port.is_none() && is_usual(meant.port()))
    {
        let message = format!("`{text}` may be an address, or an address and a port");
        return value
            .refuse(message, format!("write \"{meant}\", or \"[{text}]\" for the address"));
    }
    match port.map(NonZeroU16::new) {
        None => Some((address, None)),
        Some(Some(port)) => Some((address, Some(port))),
        Some(None) => value.refuse(format!("`{text}` has port 0"), HELP),
    }
}

fn address_alone(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// Returns the address and port of an IPv6 address without brackets, if the last group may be a
/// port. It may also be an address as it is: `fd00::1:8080`.
fn unbracketed(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address = address.parse().ok()?;
    let is_decimal = port.bytes().all(|digit| digit.is_ascii_digit());
    let port = port.parse().ok().filter(|&port| is_decimal && port > 0)?;
    Some(SocketAddr::new(IpAddr::V6(address), port))
}

/// Returns whether the last group of an address is more likely a port.
fn is_usual(port: u16) -> bool {
    matches!(port, 80 | 443 | 1000..)
}

fn refuse_unreachable(value: Value<'_>, address: IpAddr, help: &str) -> Option<IpAddr> {
    let kind = match address {
        _ if address.is_unspecified() => "the unspecified address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(v4) if v4.is_link_local() => "a link-local address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        IpAddr::V6(v6) => return refuse_mapped(value, v6),
        IpAddr::V4(_) => return Some(address),
    };
    value.refuse(format!("`{address}` is {kind}"), help)
}

/// Refuses `::ffff:a.b.c.d`, which never is in a packet (RFC 4291, 2.5.5.2; RFC 4038, 4.2).
fn refuse_mapped(value: Value<'_>, address: Ipv6Addr) -> Option<IpAddr> {
    match address.to_ipv4_mapped() {
        None => Some(address.into()),
        Some(v4) => value
            .refuse(format!("`{address}` is an IPv4-mapped address"), format!("write \"{v4}\"")),
    }
}
