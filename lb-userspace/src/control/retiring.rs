//! Servers that left the configuration while they had flows.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::abi::status;

use super::{
    Slots,
    fragment::{Claim, Fragment, Placed},
};
use crate::load::LoadSlot;

/// They keep their entry in `BACKENDS`, and no ring has them, until their flows have ended; past
/// their deadline the flows are moved or reset.
#[derive(Default)]
pub(super) struct Retiring {
    servers: Vec<Retiree>,
}

struct Retiree {
    service: Arc<str>,
    server: SocketAddr,
    id: u32,
    /// `None`: its flows may go on until they end.
    expelled_at: Option<Instant>,
}

impl Retiring {
    /// Everybody of `backends`, until it is known who is wanted.
    pub(super) fn resume(backends: &HashMap<u32, Placed>, slots: &mut Slots) -> Self {
        let held = slots.backends().filter(|entry| backends.contains_key(&entry.2));
        let retiree = |(service, server, id): (&Arc<str>, SocketAddr, u32)| Retiree {
            service: service.clone(),
            server,
            id,
            expelled_at: None,
        };
        let servers: Vec<_> = held.map(retiree).collect();
        for retiree in &servers {
            // It has an id, so there is room for it.
            let _ = slots.backend(&retiree.service, retiree.server);
        }
        Self { servers }
    }

    /// Takes over the backends of `old` that do not stay, and with them their claims.
    pub(super) fn take_over(
        &mut self,
        old: &Fragment,
        now: Instant,
        deadline: Option<Duration>,
        stays: impl Fn(u32) -> bool,
    ) {
        let placed = |id| old.backends.iter().any(|entry| entry.0 == id);
        for claim in &old.claims {
            if let Claim::Backend(service, server, id) = claim
                && placed(*id)
                && !stays(*id)
            {
                let (service, expelled_at) = (service.clone(), deadline.map(|it| now + it));
                self.servers.push(Retiree { service, server: *server, id: *id, expelled_at });
            }
        }
    }

    /// Whether the claim is one that was taken over.
    pub(super) fn keeps(&self, claim: &Claim) -> bool {
        let Claim::Backend(_, _, id) = claim else { return false };
        self.servers.iter().any(|retiree| retiree.id == *id)
    }

    /// Does what is due, and answers which backends changed.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        has_connections: impl Fn(LoadSlot) -> bool,
        is_back: impl Fn(&Arc<str>, u32) -> bool,
        backends: &mut HashMap<u32, Placed>,
        slots: &mut Slots,
    ) -> Vec<u32> {
        let mut changed = Vec::new();
        self.servers.retain(|retiree| {
            let Retiree { service, server, id, expelled_at } = retiree;
            let back = is_back(service, *id);
            if back || !slots.load_of(*server).is_some_and(&has_connections) {
                slots.give_up_backend(service, *server);
                if !back {
                    backends.remove(id);
                    changed.push(*id);
                }
                return false;
            }
            let placed = backends.get_mut(id).filter(|placed| placed.status != status::GONE);
            if let Some(placed) = placed
                && expelled_at.is_some_and(|at| at <= now)
            {
                placed.status = status::GONE;
                changed.push(*id);
            }
            true
        });
        changed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }
}
