//! Keeps the link-layer address of each backend's next hop known: XDP cannot wait for ARP or
//! neighbour discovery, a packet to an unresolved neighbour is dropped.
//!
//! And that of the gateways to clients: packets that XDP sends do not make the kernel look whether
//! an entry still holds, so one whose router has got another address would stay as it is for ever.
//!
//! The kernel keeps an entry resolved by itself where it is marked `managed` (`NTF_EXT_MANAGED`,
//! since 5.16). Older kernels ignore the mark; there each [`Host::tend`] asks for a resolution
//! (`NTF_USE`).

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    Host, HostError,
    neighbour::{Entry, Hop},
    netlink::Netlink,
    turn,
};

/// The next hops that are kept, and the backends that they are kept for.
#[derive(Default)]
pub(super) struct Neighbours {
    backends: BTreeSet<IpAddr>,
    /// The next hop of each, as routing said last.
    ways: BTreeMap<IpAddr, Hop>,
    /// The last backend that routing was asked for.
    asked: Option<IpAddr>,
    hops: BTreeMap<Hop, Kept>,
    /// Those towards clients: one of them, and when it was seen.
    gateways: BTreeMap<Hop, (IpAddr, Instant)>,
    /// Backends that no route leads to, as reported.
    lost: BTreeSet<IpAddr>,
}

#[derive(Default)]
struct Kept {
    backends: Vec<IpAddr>,
    /// We made or marked the entry, and remove it in the end.
    ours: bool,
    /// Looks in a row that found it unresolved. The first only starts the resolution.
    misses: u32,
}

/// For so long a gateway is kept when no client is seen behind it any more.
const GATEWAY: Duration = Duration::from_secs(600);

/// A backend that steered packets cannot be sent to at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreachable {
    pub backend: IpAddr,
    /// What does not answer; `None`: no route leads there.
    pub next_hop: Option<IpAddr>,
}

impl Host {
    /// From now on the next hops towards exactly these backends are kept resolved.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel refuses.
    pub async fn keep_neighbours(&mut self, backends: BTreeSet<IpAddr>) -> Result<(), HostError> {
        self.neighbours.backends = backends;
        self.tend().await.map(drop)
    }

    /// The gateways to these clients are kept resolved, too. Clients on a network of ours are not: they
    /// come and go, and ask for us before they send.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn find_gateways(&mut self, clients: &[IpAddr]) -> Result<(), HostError> {
        let now = Instant::now();
        let known = mem::take(&mut self.neighbours.gateways).into_values();
        let known = known.filter(|(_, seen)| now.duration_since(*seen) < GATEWAY);
        for (client, seen) in known.chain(clients.iter().map(|&client| (client, now))) {
            match self.netlink.way_to(client).await {
                Ok(way) if way.next_hop != client => {
                    let hop = Hop { interface: way.interface, address: way.next_hop };
                    self.neighbours.gateways.insert(hop, (client, seen));
                }
                Ok(_) | Err(HostError::NoRoute { .. } | HostError::Local { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// To be called every few seconds: follows changes of routes, resolves what is not resolved,
    /// and says in the log, once each, which backends cannot be reached and which can again.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel does not answer.
    pub async fn tend(&mut self) -> Result<Vec<Unreachable>, HostError> {
        let mut unreachable = self.neighbours.follow_routes(&self.netlink).await?;
        unreachable.extend(self.neighbours.look(&self.netlink).await?);
        Ok(unreachable)
    }
}

impl Neighbours {
    /// With the entries that carry our mark, whoever left them: the next look drops those that
    /// no backend needs.
    pub(super) async fn resume(netlink: &Netlink) -> Result<Self, HostError> {
        let marked = netlink.neighbours().await?.into_iter().filter(|(_, entry)| entry.ours);
        let kept = |(hop, _)| (hop, Kept { ours: true, ..Kept::default() });
        Ok(Self { hops: marked.map(kept).collect(), ..Self::default() })
    }

    /// The addresses of the entries that are ours.
    pub(super) fn ours(&self) -> impl Iterator<Item = IpAddr> {
        self.hops.iter().filter(|(_, kept)| kept.ours).map(|(hop, _)| hop.address)
    }

    /// Finds the next hop of the backends whose turn it is, and drops the hops that none needs any
    /// more.
    async fn follow_routes(&mut self, netlink: &Netlink) -> Result<Vec<Unreachable>, HostError> {
        let is_known = |backend: &IpAddr| self.ways.contains_key(backend);
        let (due, kept) = turn(self.backends.clone(), is_known, self.asked);
        let kept = kept.into_iter().map(|backend| (backend, self.ways[&backend]));
        let mut ways: BTreeMap<IpAddr, Hop> = kept.collect();
        let mut lost = BTreeSet::new();
        self.asked = due.last().copied();
        for backend in due {
            match netlink.way_to(backend).await {
                Ok(way) => {
                    let (interface, address) = (way.interface, way.next_hop);
                    ways.insert(backend, Hop { interface, address });
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
        let mut behind: BTreeMap<Hop, Vec<IpAddr>> = BTreeMap::new();
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
        behind: BTreeMap<Hop, Vec<IpAddr>>,
    ) -> Result<(), HostError> {
        let unused: Vec<Hop> = self
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

    /// Compares the hops with the kernel's entries and has the unresolved ones resolved.
    async fn look(&mut self, netlink: &Netlink) -> Result<Vec<Unreachable>, HostError> {
        let entries = netlink.neighbours().await?;
        let mut unreachable = Vec::new();
        let mut refused = Vec::new();
        for (&hop, kept) in &mut self.hops {
            let entry = entries.get(&hop).copied().unwrap_or_default();
            kept.note(hop, entry);
            if kept.wants_resolution(entry) {
                match netlink.resolve(hop).await {
                    Ok(()) => kept.ours = true,
                    Err(error @ HostError::Privilege { .. }) => return Err(error),
                    // The others are kept all the same, and the next look tries again.
                    Err(error) => refused.push(error),
                }
            }
            if kept.misses > 1 {
                let next_hop = Some(hop.address);
                let backends = kept.backends.iter();
                unreachable.extend(backends.map(|&backend| Unreachable { backend, next_hop }));
            }
        }
        if let Some(error) = refused.pop() {
            let next_hops = refused.len() + 1;
            let error: &dyn std::error::Error = &error;
            warn!(next_hops, error, "the kernel takes no entry for some next hops");
        }
        Ok(unreachable)
    }

    /// Removes the entries that are ours.
    pub(super) async fn forget_all(&mut self, netlink: &Netlink) -> Result<(), HostError> {
        self.backends.clear();
        self.ways.clear();
        self.gateways.clear();
        self.replace_hops(netlink, BTreeMap::new()).await
    }
}

impl Kept {
    /// An administrator's entry, and one that another daemon has the kernel manage, stay as they
    /// are: our mark would undo the first (`__neigh_update` clears `NUD_PERMANENT`), and our
    /// removal in the end the second.
    fn wants_resolution(&self, entry: Entry) -> bool {
        let others = entry.fixed || (entry.managed && !entry.ours && !self.ours);
        let kept = entry.resolved && entry.managed && entry.exempt;
        !others && !kept
    }

    fn note(&mut self, hop: Hop, entry: Entry) {
        let (next_hop, backends) = (hop.address, &self.backends);
        if entry.resolved {
            if self.misses > 1 {
                info!(%next_hop, ?backends, "the next hop answers again");
            }
            self.misses = 0;
        } else {
            self.misses = self.misses.saturating_add(1);
            if self.misses == 2 && backends.is_empty() {
                warn!(%next_hop, "the gateway to clients does not answer ARP or neighbour discovery");
            } else if self.misses == 2 {
                warn!(
                    %next_hop,
                    ?backends,
                    "the next hop does not answer ARP or neighbour discovery: \
                     packets to these backends are dropped"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Entry =
        Entry { resolved: true, fixed: false, managed: false, exempt: false, ours: false };

    #[test]
    fn only_what_the_kernel_does_not_keep_by_itself_is_touched() {
        let kept = Kept::default();
        assert!(kept.wants_resolution(Entry::default()), "absent");
        assert!(kept.wants_resolution(PLAIN), "would age");
        let fixed = Entry { fixed: true, ..PLAIN };
        assert!(!kept.wants_resolution(fixed), "an administrator's");
        let managed = Entry { managed: true, ..PLAIN };
        assert!(!kept.wants_resolution(managed), "another daemon's");
        let silent = Entry { resolved: false, ..managed };
        assert!(!kept.wants_resolution(silent), "another daemon's");
        let ours = Entry { ours: true, ..silent };
        assert!(kept.wants_resolution(ours), "ours, does not answer");
        let earlier = Entry { resolved: true, ..ours };
        assert!(kept.wants_resolution(earlier), "ours, and the kernel may remove it for others");
        assert!(!kept.wants_resolution(Entry { exempt: true, ..earlier }), "ours");
    }

    #[test]
    fn the_first_miss_is_no_complaint() {
        let hop = Hop { interface: 1, address: IpAddr::from([10, 0, 0, 1]) };
        let mut kept = Kept::default();
        kept.note(hop, Entry::default());
        assert_eq!(kept.misses, 1);
        kept.note(hop, PLAIN);
        assert_eq!(kept.misses, 0);
    }
}
