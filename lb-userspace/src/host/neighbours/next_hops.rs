//! Keeps the next hop of each backend resolved: XDP cannot wait for ARP or neighbour discovery, and
//! packets to an unresolved neighbour are dropped.
//!
//! The same for gateways to clients. Clients on a directly connected network have their existing
//! entries confirmed (`confirmation`).
//!
//! The kernel keeps an entry resolved by itself if it is marked `managed` (`NTF_EXT_MANAGED`, since
//! 5.16). Older kernels ignore the mark; there each `Host::maintain_neighbours` requests a
//! resolution (`NTF_USE`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use tracing::{debug, info, warn};

use super::batch::next_batch;
use super::confirmation::{ConfirmStep, NeighbourConfirmation};
use crate::host::netlink::neighbour::{Neighbour, NeighbourEntry, State};
use crate::host::{error::HostError, netlink::connection::Netlink};

/// The next hops that are kept resolved, and their backends.
#[derive(Default)]
pub(crate) struct NextHops {
    pub(crate) backends: BTreeSet<IpAddr>,
    /// The next hop of each backend, as routing said last.
    pub(crate) ways: BTreeMap<IpAddr, Neighbour>,
    /// The last backend that was looked up.
    pub(crate) asked: Option<IpAddr>,
    hops: BTreeMap<Neighbour, KeptHop>,
    /// Gateways to clients, each with one client and when it was seen.
    pub(crate) gateways: BTreeMap<Neighbour, (IpAddr, Instant)>,
    /// Some of the clients on directly connected networks that are being answered.
    pub(crate) near: BTreeSet<Neighbour>,
    pub(crate) confirming: NeighbourConfirmation,
    /// Entries of ours that somebody removed, and that were requested again.
    pub(crate) restored: usize,
    /// Backends without a route, as reported.
    pub(crate) lost: BTreeSet<IpAddr>,
}

#[derive(Default)]
pub(crate) struct KeptHop {
    backends: Vec<IpAddr>,
    /// We made or marked the entry, so we remove it in the end.
    ours: bool,
    /// Since when it is unresolved, and whether that was logged.
    silent: Option<(Instant, bool)>,
}

/// How long the kernel probes before it gives up (`mcast_solicit`, `retrans_time_ms`).
const SILENCE: Duration = Duration::from_secs(3);

/// How long a gateway is kept after the last client behind it was seen.
pub(crate) const GATEWAY: Duration = Duration::from_secs(600);

/// A backend that steered packets cannot reach at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    pub backend: IpAddr,
    /// The next hop that does not answer; `None` if there is no route.
    pub next_hop: Option<IpAddr>,
}

impl NextHops {
    /// Takes over the entries that carry our mark, whoever left them: the next look drops those
    /// that no backend needs.
    pub(crate) async fn resume(netlink: &Netlink) -> Result<Self, HostError> {
        let marked = netlink.neighbours().await?.into_iter().filter(|(_, entry)| entry.ours);
        let kept = |(hop, _)| (hop, KeptHop { ours: true, ..KeptHop::default() });
        Ok(Self { hops: marked.map(kept).collect(), ..Self::default() })
    }

    /// Returns the addresses of our entries.
    pub(crate) fn ours(&self) -> impl Iterator<Item = IpAddr> {
        self.hops.iter().filter(|(_, kept)| kept.ours).map(|(hop, _)| hop.address)
    }

    /// Looks up the next hop of the backends whose turn it is, and drops next hops that are no
    /// longer needed.
    pub(crate) async fn follow_routes(
        &mut self,
        netlink: &Netlink,
    ) -> Result<Vec<Unreachable>, HostError> {
        let is_known = |backend: &IpAddr| self.ways.contains_key(backend);
        let (due, kept) = next_batch(self.backends.clone(), is_known, self.asked);
        let kept = kept.into_iter().map(|backend| (backend, self.ways[&backend]));
        let mut ways: BTreeMap<IpAddr, Neighbour> = kept.collect();
        let mut lost = BTreeSet::new();
        self.asked = due.last().copied();
        for backend in due {
            match netlink.route_to(backend).await {
                Ok(way) => {
                    let (interface, address) = (way.interface, way.next_hop);
                    ways.insert(backend, Neighbour { interface, address });
                }
                Err(error @ (HostError::NoRoute { .. } | HostError::Local { .. })) => {
                    if !self.lost.contains(&backend) {
                        warn!(%backend, %error, "cannot steer to this backend");
                    }
                    lost.insert(backend);
                }
                Err(error) => return Err(error),
            }
        }
        self.lost = lost;
        self.ways = ways;
        let mut behind: BTreeMap<Neighbour, Vec<IpAddr>> = BTreeMap::new();
        for (&backend, &hop) in &self.ways {
            behind.entry(hop).or_default().push(backend);
        }
        for &gateway in self.gateways.keys() {
            behind.entry(gateway).or_default();
        }
        self.replace_hops(netlink, behind).await?;
        let lost = self.lost.iter();
        Ok(lost.map(|&backend| Unreachable { backend, next_hop: None }).collect())
    }

    async fn replace_hops(
        &mut self,
        netlink: &Netlink,
        behind: BTreeMap<Neighbour, Vec<IpAddr>>,
    ) -> Result<(), HostError> {
        let unused: Vec<Neighbour> = self
            .hops
            .iter()
            .filter(|(hop, _)| !behind.contains_key(hop))
            .map(|(&hop, _)| hop)
            .collect();
        for hop in unused {
            if self.hops.remove(&hop).is_some_and(|kept| kept.ours) {
                netlink.forget(hop).await?;
            }
        }
        for (hop, backends) in behind {
            self.hops.entry(hop).or_default().backends = backends;
        }
        Ok(())
    }

    /// Compares the next hops with the kernel's entries and requests the resolution of unresolved
    /// ones.
    pub(crate) async fn look(&mut self, netlink: &Netlink) -> Result<Vec<Unreachable>, HostError> {
        let (entries, now) = (netlink.neighbours().await?, Instant::now());
        let mut unreachable = Vec::new();
        let mut refused = Vec::new();
        for (&hop, kept) in &mut self.hops {
            let found = entries.get(&hop).copied();
            let entry = found.unwrap_or_default();
            kept.note(hop, entry, now);
            if kept.wants_resolution(entry) {
                match netlink.resolve(hop).await {
                    Ok(()) => {
                        self.restored += usize::from(kept.ours && found.is_none());
                        kept.ours = true;
                    }
                    Err(error @ HostError::Privilege { .. }) => return Err(error),
                    // The others are kept anyway, and the next look tries again.
                    Err(error) => refused.push(error),
                }
            }
            if kept.is_silent() {
                let next_hop = Some(hop.address);
                let backends = kept.backends.iter();
                unreachable.extend(backends.map(|&backend| Unreachable { backend, next_hop }));
            }
        }
        if let Some(error) = refused.pop() {
            let next_hops = refused.len() + 1;
            let error: &dyn std::error::Error = &error;
            warn!(next_hops, error, "the kernel refuses neighbour entries for some next hops");
        }
        self.confirm(netlink, &entries, now).await;
        Ok(unreachable)
    }

    /// Confirms entries. An entry that changes meanwhile is handled by the next look.
    pub(crate) async fn confirm(
        &mut self,
        netlink: &Netlink,
        entries: &BTreeMap<Neighbour, NeighbourEntry>,
        now: Instant,
    ) {
        let is_busy = |hop: &Neighbour| self.hops.contains_key(hop) || self.near.contains(hop);
        for (hop, entry, step) in self.confirming.steps(entries, is_busy, now) {
            let done = match step {
                ConfirmStep::ProbeUnicast => netlink.probe_unicast(hop, entry).await,
                ConfirmStep::ProbeAll => netlink.probe_all(hop, entry).await,
                ConfirmStep::Resolve => netlink.trigger_resolution(hop, entry).await,
            };
            let neighbour = hop.address;
            match done {
                Ok(()) => debug!(%neighbour, ?step, "confirming"),
                Err(error) => debug!(%neighbour, ?step, %error, "cannot confirm"),
            }
        }
    }

    /// Removes our entries.
    pub(crate) async fn forget_all(&mut self, netlink: &Netlink) -> Result<(), HostError> {
        self.backends.clear();
        self.ways.clear();
        self.gateways.clear();
        self.replace_hops(netlink, BTreeMap::new()).await
    }
}

impl KeptHop {
    /// Returns whether to request a resolution. An administrator's entry, and one that another
    /// daemon has the kernel manage, are left alone: our mark would undo the first
    /// (`__neigh_update` clears `NUD_PERMANENT`), and our final removal the second.
    pub(crate) fn wants_resolution(&self, entry: NeighbourEntry) -> bool {
        let others =
            entry.state == State::Permanent || (entry.managed && !entry.ours && !self.ours);
        let kept = entry.is_resolved() && entry.managed && entry.exempt;
        !others && !kept
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some_and(|(_, told)| told)
    }

    /// Logs once that it does not answer, after the time that an answer may take.
    pub(crate) fn note(&mut self, hop: Neighbour, entry: NeighbourEntry, now: Instant) {
        let (next_hop, backends) = (hop.address, &self.backends);
        if entry.is_resolved() {
            if self.is_silent() {
                info!(%next_hop, ?backends, "the next hop answers again");
            }
            self.silent = None;
            return;
        }
        let (since, told) = *self.silent.get_or_insert((now, false));
        if told || now < since + SILENCE {
            return;
        }
        self.silent = Some((since, true));
        if backends.is_empty() {
            warn!(%next_hop, "the gateway to clients does not answer ARP or neighbour discovery");
        } else {
            warn!(
                %next_hop,
                ?backends,
                "the next hop does not answer ARP or neighbour discovery: \
                 packets to these backends are dropped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> NeighbourEntry {
        NeighbourEntry { state: State::Reachable, ..NeighbourEntry::default() }
    }

    #[test]
    fn only_what_the_kernel_does_not_keep_by_itself_is_touched() {
        let kept = KeptHop::default();
        assert!(kept.wants_resolution(NeighbourEntry::default()), "absent");
        assert!(kept.wants_resolution(plain()), "would age");
        let fixed = NeighbourEntry { state: State::Permanent, ..plain() };
        assert!(!kept.wants_resolution(fixed), "an administrator's");
        let managed = NeighbourEntry { managed: true, ..plain() };
        assert!(!kept.wants_resolution(managed), "another daemon's");
        let silent = NeighbourEntry { state: State::Unknown, ..managed };
        assert!(!kept.wants_resolution(silent), "another daemon's");
        let ours = NeighbourEntry { ours: true, ..silent };
        assert!(kept.wants_resolution(ours), "ours, does not answer");
        let earlier = NeighbourEntry { state: State::Reachable, ..ours };
        assert!(kept.wants_resolution(earlier), "ours, and the kernel may remove it for others");
        assert!(!kept.wants_resolution(NeighbourEntry { exempt: true, ..earlier }), "ours");
    }

    #[test]
    fn only_a_long_silence_is_a_complaint() {
        let hop = Neighbour { interface: 1, address: IpAddr::from([10, 0, 0, 1]) };
        let (mut kept, start) = (KeptHop::default(), Instant::now());
        let silent = NeighbourEntry::default();
        for (entry, seconds, expected) in [
            (silent, 0, false),
            (silent, 2, false),
            (plain(), 3, false),
            (silent, 4, false),
            (silent, 7, true),
            (silent, 9, true),
            (plain(), 10, false),
        ] {
            kept.note(hop, entry, start + Duration::from_secs(seconds));
            assert_eq!(kept.is_silent(), expected, "after {seconds} s");
        }
    }
}
