//! Checks that steered flows do not share the host's ephemeral ports: both would use the same
//! address towards the same backend.

use std::{fs, ops::RangeInclusive, path::Path};

use super::error::HostError;

const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Checks that the kernel does not assign any port of `ours` by itself, in the network namespace of
/// the calling thread. The range serves IPv4 and IPv6.
///
/// # Errors
///
/// The ranges overlap in ports that are not reserved, or cannot be read.
pub fn check_source_ports(ours: &RangeInclusive<u16>) -> Result<(), HostError> {
    let ephemeral = parse_ephemeral(&read(EPHEMERAL)?).ok_or_else(|| unexpected(EPHEMERAL))?;
    let reserved = parse_reserved(&read(RESERVED)?).ok_or_else(|| unexpected(RESERVED))?;
    if collides(ours, &ephemeral, &reserved) {
        return Err(HostError::PortOverlap { ours: ours.clone(), ephemeral });
    }
    Ok(())
}

fn collides(
    ours: &RangeInclusive<u16>,
    ephemeral: &RangeInclusive<u16>,
    reserved: &[RangeInclusive<u16>],
) -> bool {
    let first = *ours.start().max(ephemeral.start());
    let last = *ours.end().min(ephemeral.end());
    (first..=last).any(|port| !reserved.iter().any(|range| range.contains(&port)))
}

fn read(path: &str) -> Result<String, HostError> {
    fs::read_to_string(path).map_err(|source| HostError::file("read", Path::new(path), source))
}

fn unexpected(path: &str) -> HostError {
    HostError::Content { path: path.into(), content: fs::read_to_string(path).unwrap_or_default() }
}

/// Parses two numbers.
fn parse_ephemeral(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) => Some(first..=last),
        _ => None,
    }
}

/// Parses numbers and ranges, separated by commas: `1,2-4,10-10`; may be empty.
fn parse_reserved(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lists_are_read() {
        assert_eq!(parse_ephemeral("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_ephemeral("32768\n"), None);
        assert_eq!(parse_reserved("\n"), Some(vec![]));
        assert_eq!(parse_reserved("80,2048-4095\n"), Some(vec![80..=80, 2048..=4095]));
        assert_eq!(parse_reserved("a-b"), None);
    }

    #[test]
    fn one_shared_port_is_one_too_many() {
        let ephemeral = 32768..=60999;
        assert!(!collides(&(2048..=32767), &ephemeral, &[]));
        assert!(collides(&(2048..=32768), &ephemeral, &[]));
        assert!(collides(&(60999..=65535), &ephemeral, &[]));
        assert!(collides(&(40000..=40001), &ephemeral, &[]));
        assert!(!collides(&(61000..=65535), &ephemeral, &[]));
    }

    #[test]
    fn reserved_ports_are_not_handed_out() {
        let ephemeral = 1024..=65535;
        assert!(!collides(&(2048..=32767), &ephemeral, &[2000..=32767]));
        assert!(!collides(&(2048..=2050), &ephemeral, &[2048..=2048, 2049..=2050]));
        assert!(collides(&(2048..=32767), &ephemeral, &[2049..=32767]));
    }

    #[test]
    fn the_message_names_both_ranges() {
        let error = HostError::PortOverlap { ours: 2048..=40000, ephemeral: 32768..=60999 };
        let text = error.to_string();
        assert!(text.contains("2048-40000") && text.contains("32768-60999"), "{text}");
    }
}
