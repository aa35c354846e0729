//! The backends that are tried for one request or connection, one after the other.

use std::net::IpAddr;

use super::{latency_probe::LatencyProbe, upstreams::Upstreams};
use crate::proxy::{
    http::fault::Fault,
    routing::{
        admission::{Admission, PickContext},
        routes::Site,
    },
};
use crate::{
    balance::{PickRequest, Preference},
    load::LoadSlot,
};

/// At most so many.
const MOST: usize = 3;

pub(crate) struct Attempts<'a> {
    upstreams: &'a Upstreams,
    site: &'a Site,
    client: IpAddr,
    preference: &'a Preference,
    /// By index.
    tried: Vec<usize>,
    fault: Option<Fault>,
    earlier: Option<Admission>,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(
        upstreams: &'a Upstreams,
        site: &'a Site,
        client: IpAddr,
        preference: &'a Preference,
    ) -> Self {
        Self { upstreams, site, client, preference, tried: Vec::new(), fault: None, earlier: None }
    }

    /// The next backend that has room, by its index, and a place there. Nobody is waited for on the
    /// way from one to the next.
    pub(crate) async fn next(
        &mut self,
        is_free: &dyn Fn(LoadSlot) -> bool,
    ) -> Result<(usize, Admission), Fault> {
        if self.tried.len() >= MOST {
            return Err(self.why(Fault::Unreachable));
        }
        let Self { upstreams, site, client, preference, .. } = *self;
        let (load, now) = (&upstreams.load, LatencyProbe::start(site).tick());
        let request = PickRequest { load, client, tried: &self.tried, preference, now, is_free };
        let context = PickContext {
            balancer: &site.balancer,
            rng: &upstreams.rng,
            counted: &|slot| upstreams.h2_pool.counted(slot),
        };
        let admitted = site.admission.admit(&context, &request, self.earlier.take()).await;
        admitted.map_err(|why| self.why(why))
    }

    /// The backend could not be reached.
    pub(crate) fn failed(&mut self, index: usize, admission: Admission, fault: Fault) {
        self.tried.push(index);
        self.earlier = Some(admission);
        self.fault = Some(fault);
    }

    /// What the last backend failed by says more than `otherwise`, which ends the attempts.
    pub(crate) fn why(&self, otherwise: Fault) -> Fault {
        self.fault.unwrap_or(otherwise)
    }
}
