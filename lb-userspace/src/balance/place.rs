//! Regions and instances: the order of backends, in general and for one request.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use crate::{fleet::Backend, settings::Geography};

/// A request's preferences among the backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    pub target: Target,
    /// Preferred regions in order; groups and `any` stand for what the configuration says.
    pub regions: Vec<Box<str>>,
    /// Only these regions.
    pub is_strict: bool,
    /// A server that must not be picked.
    pub excluded: Option<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Any,
    /// Preferred if it has room.
    Prefer(Location),
    Only(Location),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Instance(Box<str>),
    Server(SocketAddr),
}

impl Location {
    #[must_use]
    pub fn is(&self, backend: &Backend) -> bool {
        match self {
            Self::Instance(name) => backend.server.instance.as_deref() == Some(name),
            Self::Server(address) => backend.server.address == *address,
        }
    }
}

impl Preference {
    pub const NONE: Self =
        Self { target: Target::Any, regions: Vec::new(), is_strict: false, excluded: None };

    /// Returns whether only some backends will do.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        let is_bound = matches!(self.target, Target::Only(_));
        is_bound || self.excluded.is_some() || (self.is_strict && !self.regions.is_empty())
    }

    /// Returns the preferred instance, if any.
    #[must_use]
    pub fn preferred_instance(&self) -> Option<&str> {
        match &self.target {
            Target::Prefer(Location::Instance(name)) => Some(name),
            _ => None,
        }
    }
}

/// The distance of each backend, by configuration.
pub(super) struct Distances {
    geography: Arc<Geography>,
    /// Ranks by backend. 0: here, or the place is unknown.
    ranks: Vec<u16>,
    /// Distinct ranks, ascending.
    levels: Vec<u32>,
    /// Whether some backend has a region or an instance.
    are_named: bool,
}

impl Distances {
    pub(super) fn new(backends: &[Arc<Backend>], geography: Arc<Geography>) -> Self {
        let ranks: Vec<_> =
            backends.iter().map(|it| geography.rank(it.server.region.as_deref())).collect();
        let levels = in_order(ranks.iter().map(|&rank| u32::from(rank)));
        let mut servers = backends.iter().map(|backend| &backend.server);
        let are_named = servers.any(|it| it.region.is_some() || it.instance.is_some());
        Self { geography, ranks, levels, are_named }
    }

    /// Returns whether a request's preferences make a difference.
    pub(super) fn are_named(&self) -> bool {
        self.are_named
    }

    /// Returns whether all backends rank equally.
    pub(super) fn are_equal(&self, preference: &Preference) -> bool {
        self.levels.len() <= 1 && preference.regions.is_empty()
    }

    /// Returns the distinct ranks for `preference`, ascending.
    pub(super) fn levels(
        &self,
        backends: &[Arc<Backend>],
        preference: &Preference,
    ) -> Cow<'_, [u32]> {
        if preference.regions.is_empty() {
            return Cow::Borrowed(&self.levels);
        }
        let ranks = backends.iter().enumerate();
        let ranks = ranks.filter_map(|(index, backend)| self.rank(index, backend, preference));
        Cow::Owned(in_order(ranks))
    }

    /// Returns a backend's rank; lower goes first. `None` if it must not be picked.
    pub(super) fn rank(
        &self,
        index: usize,
        backend: &Backend,
        preference: &Preference,
    ) -> Option<u32> {
        if preference.regions.is_empty() {
            return Some(u32::from(self.ranks[index]));
        }
        let region = backend.server.region.as_deref();
        let preferred =
            preference.regions.iter().position(|name| self.geography.covers(name, region));
        let behind = self.ranks[index];
        match preferred {
            // Within one group, the nearest first.
            Some(position) => Some((position as u32) << 16 | u32::from(behind)),
            None if preference.is_strict => None,
            None => Some((preference.regions.len() as u32) << 16 | u32::from(behind)),
        }
    }
}

fn in_order(ranks: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ranks: Vec<_> = ranks.collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}
