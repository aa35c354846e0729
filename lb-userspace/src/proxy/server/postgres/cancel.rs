//! A cancel request on its way to the server of its session.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::message::CancelKey;
use crate::{
    fleet::Backend,
    proxy::{
        net::endpoints::Endpoints,
        routing::routes::Site,
        server::{proxy_protocol, worker::Worker},
        upstream::lease,
    },
};

/// Brings the request to the server that gave out `key`. Where nobody here knows it, another node
/// may hold the session: each server of `sites` gets it, and all but one will ignore it. Returns
/// when they have taken notice, which is when the client may (it is told nothing, ever).
pub(crate) async fn deliver(
    worker: &Worker,
    sites: &[Arc<Site>],
    key: &CancelKey,
    endpoints: &Endpoints,
) {
    let holder = worker.cancel_keys.find(key);
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
    join_all(right.into_iter().map(|(site, backend)| send(worker, site, backend, key, endpoints)))
        .await;
}

async fn send(
    worker: &Worker,
    site: &Site,
    backend: &Backend,
    key: &CancelKey,
    endpoints: &Endpoints,
) {
    let address = backend.server.address;
    let _permit = lease::enter(&worker.upstreams.load, backend);
    let sent = async {
        let mut stream =
            worker.upstreams.dialer.dial(address).await.map_err(std::io::Error::other)?;
        let message =
            [&proxy_protocol::announce(site.proxy_proto, endpoints, None)[..], &key.request()]
                .concat();
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
