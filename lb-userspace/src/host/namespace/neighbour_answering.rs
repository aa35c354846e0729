//! Makes the host answer neighbour requests (ARP, neighbour discovery) for announced addresses.
//!
//! The kernel treats the two families differently by default. It answers ARP for every address that
//! a route makes local, on any interface: also on a node that does not hold the address yet.
//! `arp_ignore = 3` (`arp_ignore` in net/ipv4/arp.c) excludes addresses that are on no interface,
//! and nothing else; `arp_announce = 2` keeps the host from using such an address as its own in its
//! requests. Both continue without us. Neighbour discovery is answered only for addresses on the
//! interface and for proxy entries, which also make the kernel join the multicast group of the
//! address.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
};
use tracing::{debug, warn};

use super::{
    host::Host,
    reader::HostReader,
    undo_journal::{UndoJournal, sysctl},
};
use crate::host::{
    error::{HostError, errno},
    netlink::{
        connection::{Netlink, collect, protocol},
        interfaces::Interface,
    },
};
use crate::settings::AnswerNeighbours;

/// A proxy entry: an interface's index, and an address that the kernel answers for on it.
type Proxy = (u32, Ipv6Addr);

/// The settings that keep the host from answering for addresses that it does not have: the key's
/// end, the value, and the least value that is left alone.
const RESERVED: [(&str, &str, u32); 2] = [("arp_ignore", "3", 1), ("arp_announce", "2", 2)];

impl Host {
    /// Makes the host answer for `addresses` on these interfaces.
    ///
    /// # Errors
    ///
    /// No privilege, /proc/sys is not writable, or the kernel refuses.
    pub async fn answer_neighbours(
        &mut self,
        how: AnswerNeighbours,
        interfaces: &[&Interface],
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<(), HostError> {
        let mut wanted = BTreeSet::new();
        let mut proxies = BTreeSet::new();
        for interface in interfaces.iter().filter(|interface| !interface.loopback) {
            let (name, index) = (interface.name.as_str(), interface.index);
            match how {
                AnswerNeighbours::Assigned | AnswerNeighbours::Never => {
                    wanted.extend(reserve(&mut self.journal, name)?);
                }
                AnswerNeighbours::Always => {
                    let v6 = addresses.iter().filter_map(|address| match address {
                        IpAddr::V6(address) => Some((index, *address)),
                        IpAddr::V4(_) => None,
                    });
                    let before = proxies.len();
                    proxies.extend(v6);
                    if proxies.len() > before {
                        wanted.extend(answer_at_once(&mut self.journal, name)?);
                    }
                }
            }
        }
        let is_ours = |key: &str| is_key(key) && !wanted.contains(key);
        self.journal.restore_if(is_ours)?;
        self.set_proxies(proxies).await
    }

    /// Returns the `arp_ignore` that the host itself has set for an interface.
    ///
    /// # Errors
    ///
    /// /proc/sys cannot be read.
    pub fn arp_ignore(&self, interface: &str) -> Result<u32, HostError> {
        let [all, own] = ["all", interface].map(arp_ignore_of);
        let ours = self.journal.before(&format!("net/ipv4/conf/{interface}/arp_ignore"));
        let own = ours.map_or(own, |was| Ok(was.parse().unwrap_or(0)))?;
        Ok(all?.max(own))
    }

    /// Sets the proxy entries. An entry that cannot be made now is tried again at the next call.
    async fn set_proxies(&mut self, wanted: BTreeSet<Proxy>) -> Result<(), HostError> {
        if wanted.is_empty() && self.proxies.is_empty() {
            return Ok(());
        }
        let there = self.netlink.proxies().await?;
        for &proxy in there.difference(&wanted) {
            self.netlink.remove_proxy(proxy).await?;
        }
        for &(interface, address) in wanted.difference(&there) {
            match self.netlink.add_proxy((interface, address)).await {
                Ok(()) => debug!(%address, interface, "answers neighbour discovery"),
                Err(error @ HostError::Privilege { .. }) => return Err(error),
                Err(error) => warn!(%address, %error, "cannot answer neighbour discovery"),
            }
        }
        self.proxies = wanted;
        Ok(())
    }

    /// Removes our proxy entries.
    pub(crate) async fn remove_proxies(&mut self) -> Result<(), HostError> {
        self.set_proxies(BTreeSet::new()).await
    }

    /// Notes that an earlier daemon used this interface, as for forwarding.
    pub(crate) fn suspect_answering(&mut self, interface: &str) -> Result<(), HostError> {
        for (end, value, _) in RESERVED {
            self.journal.suspect(&format!("net/ipv4/conf/{interface}/{end}"), value)?;
        }
        Ok(())
    }
}

impl HostReader {
    /// Returns the `arp_ignore` of an interface, ignoring what a running daemon may have set.
    ///
    /// # Errors
    ///
    /// /proc/sys cannot be read.
    pub fn arp_ignore(&self, interface: &str) -> Result<u32, HostError> {
        let [all, own] = ["all", interface].map(arp_ignore_of);
        let is_ours = |value: &u32| value.to_string() == RESERVED[0].1;
        Ok(all?.max(Some(own?).filter(|own| !is_ours(own)).unwrap_or(0)))
    }
}

fn arp_ignore_of(device: &str) -> Result<u32, HostError> {
    let text = sysctl(&format!("net/ipv4/conf/{device}/arp_ignore"))?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn is_key(key: &str) -> bool {
    let end = key.rsplit('/').next();
    let reserved = RESERVED.iter().map(|(end, ..)| *end);
    reserved.chain(["proxy_ndp", "proxy_delay"]).any(|ours| end == Some(ours))
}

/// Sets the reserved settings, except those that the host has set already. Returns the keys.
fn reserve(journal: &mut UndoJournal, interface: &str) -> Result<Vec<String>, HostError> {
    let mut keys = Vec::new();
    for (end, value, enough) in RESERVED {
        let key = format!("net/ipv4/conf/{interface}/{end}");
        if effective(interface, end)?.is_some_and(|value| value < enough) {
            journal.set(&key, value)?;
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Removes the proxy delay: by default the kernel waits up to 0.8 s, in case the owner of the
/// address answers, too.
fn answer_at_once(journal: &mut UndoJournal, interface: &str) -> Result<[String; 2], HostError> {
    let proxies = format!("net/ipv6/conf/{interface}/proxy_ndp");
    let delay = format!("net/ipv6/neigh/{interface}/proxy_delay");
    journal.set(&proxies, "1")?;
    journal.set(&delay, "0")?;
    Ok([proxies, delay])
}

/// Returns the effective value: the larger one of the interface's and that of `all`
/// (`IN_DEV_MAXCONF`).
fn effective(interface: &str, end: &str) -> Result<Option<u32>, HostError> {
    let value = |device: &str| {
        let text = sysctl(&format!("net/ipv4/conf/{device}/{end}"))?;
        Ok::<_, HostError>(text.and_then(|text| text.parse().ok()))
    };
    let (all, own) = (value("all")?, value(interface)?);
    Ok(own.map(|own: u32| own.max(all.unwrap_or(0))))
}

impl Netlink {
    /// Returns the proxy entries that carry our mark.
    pub(crate) async fn proxies(&self) -> Result<BTreeSet<Proxy>, HostError> {
        let request = self.handle.neighbours().get().proxies();
        let request = request.set_address_family(AddressFamily::Inet6);
        match collect(request.execute()).await {
            Ok(entries) => Ok(entries.iter().filter_map(read).collect()),
            Err(error) if errno(&error) == Some(libc::EAFNOSUPPORT) => Ok(BTreeSet::new()),
            Err(error) => Err(HostError::netlink("list the proxy entries", &error)),
        }
    }

    async fn add_proxy(&self, (interface, address): Proxy) -> Result<(), HostError> {
        let mut request = self.handle.neighbours().add(interface, address.into());
        request.message_mut().attributes.push(NeighbourAttribute::Protocol(protocol()));
        let request = request.flags(NeighbourFlags::Proxy).replace();
        request.execute().await.map_err(|error| {
            HostError::netlink(format!("answer neighbour discovery for {address}"), &error)
        })
    }

    async fn remove_proxy(&self, (interface, address): Proxy) -> Result<(), HostError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.ifindex = interface;
        message.header.flags = NeighbourFlags::Proxy;
        message.attributes.push(NeighbourAttribute::Destination(address.into()));
        match self.handle.neighbours().del(message).execute().await {
            // The entry or its interface is already gone.
            Err(error)
                if matches!(errno(&error), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) =>
            {
                Ok(())
            }
            other => other.map_err(|error| {
                HostError::netlink(format!("forget the proxy entry of {address}"), &error)
            }),
        }
    }
}

fn read(message: &NeighbourMessage) -> Option<Proxy> {
    let (mut address, mut ours) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(*v6),
            NeighbourAttribute::Protocol(by) => ours = *by == protocol(),
            _ => {}
        }
    }
    let address = address.filter(|_| ours)?;
    Some((message.header.ifindex, address))
}
