//! Which server gave out which key, and cancel requests on their way to it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{announcement, message::CancelKey};
use crate::{
    fleet::Backend,
    proxy::{lease, origin::Origin, routes::Site, worker::Worker},
};

/// The keys of the sessions of all workers: a cancel request may come to any of them.
///
/// It is locked once when a session begins, once when it ends, and for a cancel request; never for
/// a query.
pub(in super::super) struct Cancels {
    shards: [Mutex<HashMap<CancelKey, SocketAddr>>; 16],
    hasher: RandomState,
}

impl Default for Cancels {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

impl Cancels {
    pub(super) fn enter(self: &Arc<Self>, key: CancelKey, server: SocketAddr) -> Entry {
        self.with(&key, |keys| keys.insert(key.clone(), server));
        Entry { cancels: self.clone(), key }
    }

    fn find(&self, key: &CancelKey) -> Option<SocketAddr> {
        self.with(key, |keys| keys.get(key).copied())
    }

    fn with<T>(
        &self,
        key: &CancelKey,
        act: impl FnOnce(&mut HashMap<CancelKey, SocketAddr>) -> T,
    ) -> T {
        let shard = self.hasher.hash_one(key) as usize % self.shards.len();
        act(&mut self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A key that is known until this is dropped.
pub(super) struct Entry {
    cancels: Arc<Cancels>,
    key: CancelKey,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.cancels.with(&self.key, |keys| keys.remove(&self.key));
    }
}

/// Brings the request to the server that gave out `key`. Where nobody here knows it, another node
/// may hold the session: each server of `sites` gets it, and all but one will ignore it. Returns
/// when they have taken notice, which is when the client may (it is told nothing, ever).
pub(super) async fn deliver(
    worker: &Worker,
    sites: &[Arc<Site>],
    key: &CancelKey,
    origin: &Origin,
) {
    let holder = worker.cancels.find(key);
    let all = sites.iter().flat_map(|site| {
        let backends = site.running().backends.iter();
        backends.map(move |backend| (site, backend))
    });
    let is_right = |backend: &Backend| match holder {
        Some(holder) => backend.server.address == holder,
        None => backend.is_up(),
    };
    let mut right: Vec<_> = all.filter(|(_, backend)| is_right(backend)).collect();
    if holder.is_some() {
        right.truncate(1);
    }
    join_all(right.into_iter().map(|(site, backend)| send(worker, site, backend, key, origin)))
        .await;
}

async fn send(worker: &Worker, site: &Site, backend: &Backend, key: &CancelKey, origin: &Origin) {
    let address = backend.server.address;
    let _permit = lease::enter(&worker.upstreams.load, backend);
    let sent = async {
        let mut stream =
            worker.upstreams.dialer.dial(address).await.map_err(std::io::Error::other)?;
        let message = [&announcement(site, origin, None)[..], &key.request()].concat();
        stream.write_all(&message).await?;
        // The server closes when it has signalled the session.
        stream.read(&mut [0]).await
    };
    match timeout(worker.settings.handshake_timeout, sent).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(backend = %address, %error, "cannot cancel"),
        Err(_) => tracing::debug!(backend = %address, "cancelling took too long"),
    }
}
