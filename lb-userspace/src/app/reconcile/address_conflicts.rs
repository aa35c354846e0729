//! Conflicts: announced addresses that an interface of this host has as well.
//!
//! The kernel program drops packets to an announced address that belong to no declared port, so the
//! host has no other use for the address. There are three cases:
//!
//! - The host's own packets carry it: it is the source address towards a server, or an interface's
//!   own address in its network. Answers to it would be dropped, and an administrator who uses it
//!   would be cut off, so it is refused before anything happens.
//! - It is on an interface beside the host's own address, where VRRP puts it for the sake of ARP.
//!   That works, but whatever the host itself serves on it ends: a warning.
//! - It is on `lo`, an old habit with anycast. Nobody reaches a host by that address, so nothing is
//!   wrong.
//!
//! While the daemon runs there are warnings only: clients are being served when an address comes
//! later.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use anyhow::bail;
use tracing::{info, warn};

use super::neighbour_answers::{Unanswered, unanswered};
use crate::{
    host::{Host, HostError, HostReader, Interface, LocalAddress},
    service::Service,
    settings::Config,
};

/// The announced addresses that interfaces have, as last seen.
#[derive(Default)]
pub(crate) struct AddressConflicts {
    shared: BTreeSet<LocalAddress>,
    /// `None` before the first look.
    unanswered: Option<BTreeSet<Unanswered>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Refusal(String),
    Warning(String),
    Remark(String),
}

impl AddressConflicts {
    /// # Errors
    ///
    /// The host needs an announced address for itself, or the kernel does not answer.
    pub(crate) async fn begin(host: &Host, config: &Config) -> anyhow::Result<Self> {
        let mut announcing = Self::default();
        let findings = announcing.look(host, config).await?;
        for finding in findings {
            match finding {
                Finding::Refusal(why) => bail!(why),
                Finding::Warning(what) => warn!("{what}"),
                Finding::Remark(what) => info!("{what}"),
            }
        }
        Ok(announcing)
    }

    /// Warns of addresses that came since the last look, and logs which ones nobody answers for any
    /// more.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub(crate) async fn follow(&mut self, host: &Host, config: &Config) -> Result<(), HostError> {
        for finding in self.look(host, config).await? {
            match finding {
                Finding::Refusal(what) | Finding::Warning(what) => warn!("{what}"),
                Finding::Remark(what) => info!("{what}"),
            }
        }
        Ok(())
    }

    /// Compares with the last look; empty if nothing has changed.
    async fn look(&mut self, host: &Host, config: &Config) -> Result<Vec<Finding>, HostError> {
        let services = &config.services;
        let announced: BTreeSet<_> = services.iter().flat_map(|it| &it.addresses).collect();
        let (local, interfaces) = (host.local_addresses().await?, host.interfaces().await?);
        let how = config.node.answer_neighbours;
        let ignore = |name: &str| host.arp_ignore(name);
        let found = unanswered(how, services, &interfaces, &local, ignore)?;
        let mut findings = self.unanswered_findings(found);
        let shared = local.into_iter().filter(|local| announced.contains(&local.address));
        let shared: BTreeSet<_> = shared.collect();
        let new: Vec<_> = shared.difference(&self.shared).cloned().collect();
        self.shared = shared;
        if !new.is_empty() {
            let sources = sources(services, |server| host.source_towards(server)).await?;
            findings.extend(new.iter().map(|local| classify(local, &sources, &interfaces)));
        }
        Ok(findings)
    }

    /// Reports addresses that nobody answers for. An address that leaves its interface later is the
    /// normal life of a VRRP node, so it is logged without a warning.
    fn unanswered_findings(&mut self, found: BTreeSet<Unanswered>) -> Vec<Finding> {
        let is_first = self.unanswered.is_none();
        let before = self.unanswered.replace(found.clone()).unwrap_or_default();
        let words = found.difference(&before).map(Unanswered::words);
        words.map(if is_first { Finding::Warning } else { Finding::Remark }).collect()
    }
}

/// Returns why `services` cannot be announced on this host. Addresses that are announced `already`
/// are not judged again.
pub(crate) async fn refusals(
    here: &HostReader,
    interfaces: &[Interface],
    services: &[Arc<Service>],
    already: &BTreeSet<IpAddr>,
) -> Result<Vec<String>, HostError> {
    let announced: BTreeSet<_> = services.iter().flat_map(|it| &it.addresses).collect();
    let mut shared = here.local_addresses().await?;
    shared.retain(|local| announced.contains(&local.address) && !already.contains(&local.address));
    if shared.is_empty() {
        return Ok(Vec::new());
    }
    let source = async |server| here.route_to(server).await.map(|way| way.source);
    let sources = sources(services, source).await?;
    let findings = shared.iter().map(|local| classify(local, &sources, interfaces));
    let refusals = findings.filter_map(|finding| match finding {
        Finding::Refusal(why) => Some(why),
        Finding::Warning(_) | Finding::Remark(_) => None,
    });
    Ok(refusals.collect())
}

/// Returns the source addresses of packets to servers, each with one of those servers.
async fn sources(
    services: &[Arc<Service>],
    source_towards: impl AsyncFn(IpAddr) -> Result<IpAddr, HostError>,
) -> Result<BTreeMap<IpAddr, IpAddr>, HostError> {
    let servers = services.iter().flat_map(|service| &service.pool.servers);
    let servers: BTreeSet<_> = servers.map(|server| server.address.ip()).collect();
    let mut sources = BTreeMap::new();
    for server in servers {
        match source_towards(server).await {
            Ok(source) => drop(sources.entry(source).or_insert(server)),
            Err(HostError::NoRoute { .. } | HostError::Local { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sources)
}

fn classify(
    local: &LocalAddress,
    sources: &BTreeMap<IpAddr, IpAddr>,
    interfaces: &[Interface],
) -> Finding {
    const INSTEAD: &str =
        "give the service an address of its own, which needs to be on no interface";
    let LocalAddress { address, interface, is_source, .. } = local;
    let interface = interfaces.iter().find(|it| it.index == *interface);
    let name = interface.map_or("an interface", |interface| &interface.name);
    if let Some(server) = sources.get(address) {
        return Finding::Refusal(format!(
            "the announced address {address} is this host's source address towards its servers \
             (`ip route get {server}`): their answers would be dropped, like all packets to an \
             announced address without a declared port; {INSTEAD}"
        ));
    }
    if interface.is_some_and(|interface| interface.loopback) {
        return Finding::Remark(format!(
            "the announced address {address} is on {name} as well, which it does not need"
        ));
    }
    if *is_source {
        return Finding::Refusal(format!(
            "the announced address {address} is this host's own on {name}: answers to its own \
             connections and ssh to it would be dropped, like all packets to an announced address \
             without a declared port; {INSTEAD}, or, if it must be on {name}, add it beside the \
             host's own (`ip address add {address}/{} dev {name}`)",
            if address.is_ipv4() { 32 } else { 128 }
        ));
    }
    Finding::Warning(format!(
        "the announced address {address} is on {name} as well: nothing but the declared ports can \
         be reached there any more, neither ssh nor anything else of this host"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        let loopback = name == "lo";
        Interface { index, name: name.to_owned(), loopback, ..Interface::default() }
    }

    #[test]
    fn what_the_host_needs_is_refused_and_what_it_has_besides_is_told() {
        let interfaces = [interface(1, "lo"), interface(2, "eth0")];
        let (here, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 9]));
        let sources = BTreeMap::from([(here, server)]);
        let classified = |address, interface, is_source| {
            let may_share = is_source;
            let local = LocalAddress { address, interface, prefix: 24, is_source, may_share };
            match classify(&local, &sources, &interfaces) {
                Finding::Refusal(text) => ("refused", text),
                Finding::Warning(text) => ("warned", text),
                Finding::Remark(text) => ("remarked", text),
            }
        };
        let vip = IpAddr::from([203, 0, 113, 1]);
        for (address, interface, is_source, expected, words) in [
            (here, 2, true, "refused", "ip route get 10.0.0.9"),
            (here, 2, false, "refused", "ip route get 10.0.0.9"),
            (here, 1, false, "refused", "ip route get 10.0.0.9"),
            (vip, 2, true, "refused", "own on eth0"),
            (vip, 2, false, "warned", "on eth0 as well"),
            (vip, 1, false, "remarked", "on lo as well"),
            (vip, 1, true, "remarked", "on lo as well"),
            (vip, 7, false, "warned", "on an interface as well"),
        ] {
            let (classified, text) = classified(address, interface, is_source);
            assert_eq!(classified, expected, "{text}");
            assert!(text.contains(words), "{text}");
        }
    }
}
