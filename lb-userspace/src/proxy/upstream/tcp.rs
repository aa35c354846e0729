//! A connection handed to a backend as a whole.

use std::{io, net::IpAddr, sync::Arc};

use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{attempts::Attempts, latency_probe::LatencyProbe, upstreams::Upstreams};
use crate::proxy::{
    http::fault::Fault,
    net::relay::{RelayStream, relay},
    routing::{admission::Admission, routes::Site},
};
use crate::{balance::Preference, fleet::Backend};

/// Relays `client` to a backend of `site`, what was read of it or made up for it already first. The
/// connection counts as that backend's load until both sides have ended.
pub(crate) async fn through<S>(
    upstreams: &Upstreams,
    site: &Arc<Site>,
    client: (S, Bytes),
    peer: IpAddr,
) -> io::Result<()>
where
    S: RelayStream,
{
    site.running().count();
    let passage = connect(upstreams, site, peer).await.map_err(|fault| {
        site.running().count_failed();
        io::Error::other(fault)
    })?;
    let timeouts = site.timeouts(upstreams.settings());
    let end = upstreams.expelled(&passage.backend);
    relay(client, (passage.stream, Bytes::new()), timeouts, end).await
}

/// A connection to a backend, counted as its load.
pub(crate) struct BackendConnection {
    pub stream: TcpStream,
    pub backend: Arc<Backend>,
    _admission: Admission,
}

pub(crate) async fn connect(
    upstreams: &Upstreams,
    site: &Site,
    client: IpAddr,
) -> Result<BackendConnection, Fault> {
    let preference = Preference::NONE;
    let mut attempts = Attempts::new(upstreams, site, client, &preference);
    loop {
        let (index, admission) = attempts.next(&|_| false).await?;
        let backend = &site.running().backends[index];
        let address = backend.server.address;
        let latency = LatencyProbe::start(site);
        match upstreams.dialer.dial(address).await {
            Ok(stream) => {
                latency.connected(backend);
                let backend = backend.clone();
                return Ok(BackendConnection { stream, backend, _admission: admission });
            }
            Err(why) => {
                latency.failed(backend, why);
                attempts.failed(index, admission, why);
            }
        }
    }
}
