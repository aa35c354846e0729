//! Converts allowed and denied networks to prefixes of the kernel's trie.

use ipnet::IpNet;
use lb_common::abi::{Address, ListKey, access};

use super::family::AddressFamily;
use crate::service::Access;

/// The number of bits before an IPv4 address in its IPv4-mapped form.
const MAPPED: u32 = 96;

/// Returns a service's prefixes of one family.
pub(crate) fn lists(of: &Access, service: u32, family: AddressFamily) -> Vec<(ListKey, u32)> {
    let named = |networks: &[IpNet], access| {
        let networks =
            networks.iter().filter(|network| AddressFamily::of(network.addr()) == family);
        networks.map(|network| (prefix(service, network), access)).collect::<Vec<_>>()
    };
    [named(&of.allow, access::ALLOW), named(&of.deny, access::DENY)].concat()
}

fn prefix(service: u32, network: &IpNet) -> ListKey {
    let network = network.trunc();
    let before = if network.addr().is_ipv4() { MAPPED } else { 0 };
    let bits = before + u32::from(network.prefix_len());
    ListKey::prefix(service, Address::of(network.addr()), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> std::sync::Arc<[IpNet]> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_family_has_its_own_without_host_bits() {
        let of = Access {
            allow: networks(&["10.1.2.3/8", "2001:db8::/32"]),
            deny: networks(&["10.1.2.3/32", "::/0"]),
        };
        let key =
            |address: &str, bits| ListKey::prefix(7, Address::of(address.parse().unwrap()), bits);
        assert_eq!(
            lists(&of, 7, AddressFamily::V4),
            [(key("10.0.0.0", 104), access::ALLOW), (key("10.1.2.3", 128), access::DENY)]
        );
        assert_eq!(
            lists(&of, 7, AddressFamily::V6),
            [(key("2001:db8::", 32), access::ALLOW), (key("::", 0), access::DENY)]
        );
    }
}
