//! Announced addresses in the network of one of the host's links: hosts there ask for them by ARP
//! or neighbour discovery, and somebody has to answer.

use std::{collections::BTreeSet, net::IpAddr};

use tokio::runtime;

use super::sources;
use crate::{
    host::{HostError, HostReader, Interface, LocalAddress},
    service::Service,
    settings::{AnswerNeighbours, Config},
};

/// An address that hosts on a link ask for and that nobody here answers for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unanswered {
    address: IpAddr,
    /// The interface in whose network it lies.
    interface: String,
    how: Setting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Setting {
    Assigned,
    Never,
    /// The host's own `arp_ignore` prevents the answer.
    Ignored(u32),
}

impl Unanswered {
    pub(crate) fn words(&self) -> String {
        let Self { address, interface, how } = self;
        let asking = if address.is_ipv4() { "ARP" } else { "neighbour discovery" };
        let place = format!("the announced address {address} lies in the network of {interface}");
        match how {
            Setting::Assigned => format!(
                "{place}, and this host does not answer {asking} for it while no interface has it: \
                 hosts on that link do not find it here. If this is the only node, set \
                 `answer_neighbours = \"always\"` in [node]; with VRRP (keepalived) the master \
                 puts it on its interface, and only the master must answer; if routers have a \
                 route for it to this host (BGP, static), nothing needs to be done"
            ),
            Setting::Never => format!(
                "{place}, and this host never answers {asking} for it (`answer_neighbours = \
                 \"never\"` in [node]): hosts on that link find it here only if they have a route to \
                 it"
            ),
            Setting::Ignored(value) => format!(
                "{place}, and this host does not answer {asking} for it there, whatever \
                 `answer_neighbours` in [node] says: `arp_ignore` is {value}, which is not lb's. \
                 Set `net.ipv4.conf.{interface}.arp_ignore` and `net.ipv4.conf.all.arp_ignore` to \
                 0 (`sysctl`, and where it is set at boot), or put the address on {interface}"
            ),
        }
    }
}

/// Returns all addresses that nobody answers for now.
pub(crate) fn unanswered(
    how: AnswerNeighbours,
    services: &[impl AsRef<Service>],
    interfaces: &[Interface],
    local: &[LocalAddress],
    arp_ignore: impl Fn(&str) -> Result<u32, HostError>,
) -> Result<BTreeSet<Unanswered>, HostError> {
    let is_lo = |index| interfaces.iter().any(|it| it.index == index && it.loopback);
    let mut found = BTreeSet::new();
    for address in services.iter().flat_map(|service| service.as_ref().addresses.iter().copied()) {
        // For ARP an address on `lo` counts as well.
        let has = |it: &&LocalAddress| {
            it.address == address && (address.is_ipv4() || !is_lo(it.interface))
        };
        let held: Vec<_> = local.iter().filter(has).map(|it| it.interface).collect();
        let around = local.iter().filter(|it| it.is_around(address) && it.address != address);
        for link in around.filter(|it| !is_lo(it.interface)) {
            let interface = interfaces.iter().find(|it| it.index == link.interface);
            let interface = interface.map_or_else(String::new, |it| it.name.clone());
            let how = match how {
                AnswerNeighbours::Never => Setting::Never,
                AnswerNeighbours::Assigned if held.is_empty() => Setting::Assigned,
                _ if address.is_ipv6() => continue,
                _ => match arp_ignore(&interface)? {
                    value if is_heeded(value, link.interface, &held) => Setting::Ignored(value),
                    _ => continue,
                },
            };
            found.insert(Unanswered { address, interface, how });
        }
    }
    Ok(found)
}

/// Returns whether the kernel ignores ARP requests at an interface for an address that other
/// interfaces have (`arp_ignore` in net/ipv4/arp.c).
fn is_heeded(arp_ignore: u32, at: u32, held: &[u32]) -> bool {
    match arp_ignore {
        1 | 2 => !held.contains(&at),
        3 => held.is_empty(),
        8 => true,
        _ => false,
    }
}

/// Returns warnings about this host's network. Empty if it cannot be read, or if the configuration
/// is for another host.
pub fn link_warnings(config: &Config) -> Vec<String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let seen = runtime.ok().and_then(|runtime| runtime.block_on(survey()).ok());
    let Some((here, interfaces, local)) = seen else {
        return Vec::new();
    };
    let Config { node, services, .. } = config;
    let is_named = |it: &Interface| node.interfaces.iter().any(|name| name.matches(&it.name));
    if !interfaces.iter().any(is_named) {
        return Vec::new();
    }
    let ignore = |name: &str| here.arp_ignore(name);
    let found = unanswered(node.answer_neighbours, services, &interfaces, &local, ignore);
    let found = found.unwrap_or_default();
    let unanswered = found.iter().map(Unanswered::words);
    unanswered.chain(sources::warnings(&node.source_addresses, &local)).collect()
}

async fn survey() -> Result<(HostReader, Vec<Interface>, Vec<LocalAddress>), HostError> {
    let here = HostReader::open()?;
    let (interfaces, local) = (here.interfaces().await?, here.local_addresses().await?);
    Ok((here, interfaces, local))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn local(text: &str, interface: u32) -> LocalAddress {
        let network: ipnet::IpNet = text.parse().expect("an address");
        let (address, prefix) = (network.addr(), network.prefix_len());
        LocalAddress { address, interface, prefix, is_source: true, may_share: true }
    }

    #[test]
    fn an_address_in_a_link_s_network_is_told_while_nobody_answers_for_it() {
        let text = "[node]\ninterfaces = ['eth0']\n[[services]]\nname = 'a'\n\
                    addresses = ['10.1.0.100', 'fd01::100', '203.0.113.1']\n\
                    ports = [{ port = 80, handlers = ['http'] }]\n\
                    load_balancer.servers = [{ address = '10.2.0.1:80' }]\n";
        let config = config::parse(std::path::Path::new("lb.toml"), text);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let interfaces = [("lo", true), ("eth0", false), ("eth1", false)];
        let interfaces: Vec<_> = (1..)
            .zip(interfaces)
            .map(|(index, (name, loopback))| Interface {
                index,
                name: name.to_owned(),
                loopback,
                ..Interface::default()
            })
            .collect();
        let links = ["10.1.0.1/24", "fd01::1/64", "10.3.0.1/24"];
        let told_with = |ignore, how, more: &[(&str, u32)]| {
            let mut addresses = vec![local("127.0.0.1/8", 1)];
            addresses.extend(links.map(|link| local(link, 2)));
            addresses.extend(more.iter().map(|(text, interface)| local(text, *interface)));
            let ignore = |_: &str| Ok(ignore);
            let found = unanswered(how, &config.services, &interfaces, &addresses, ignore);
            let found = found.expect("none fails");
            found.iter().map(|it| format!("{} {}", it.address, it.interface)).collect::<Vec<_>>()
        };
        let told = |how, more: &[(&str, u32)]| told_with(0, how, more);
        use AnswerNeighbours::{Always, Assigned, Never};
        let both = ["10.1.0.100 eth0", "fd01::100 eth0"];
        assert_eq!(told(Assigned, &[]), both);
        assert_eq!(told(Never, &[]), both);
        assert!(told(Always, &[]).is_empty());
        let held = [("10.1.0.100/32", 2), ("fd01::100/128", 2)];
        assert!(told(Assigned, &held).is_empty());
        assert_eq!(told(Never, &held), both);
        assert_eq!(told(Assigned, &held[..1]), both[1..]);
        let on_lo = [("10.1.0.100/32", 1), ("fd01::100/128", 1)];
        assert_eq!(told(Assigned, &on_lo), both[1..], "neighbour discovery is stricter");
        assert_eq!(
            told(Assigned, &[("10.1.0.7/16", 3)])[..2],
            ["10.1.0.100 eth0", "10.1.0.100 eth1"]
        );
        let elsewhere = [("10.1.0.100/32", 3), held[1]];
        for (ignore, free, here, there) in [
            (0, false, false, false),
            (1, true, false, true),
            (2, true, false, true),
            (3, true, false, false),
            (4, false, false, false),
            (8, true, true, true),
        ] {
            let ignored = |more: &[_]| !told_with(ignore, Always, more).is_empty();
            let seen = [ignored(&[]), ignored(&held), ignored(&elsewhere)];
            assert_eq!(seen, [free, here, there], "arp_ignore = {ignore}");
            assert_eq!(!told_with(ignore, Assigned, &elsewhere).is_empty(), there);
        }
    }
}
