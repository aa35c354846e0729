//! A connection handed to a backend as a whole.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{
    answer::Fault,
    exchange::{count, count_failed, dial_fault},
    limits::Admission,
    relay::{Side, relay},
    routes::Site,
    stopwatch::Stopwatch,
    tries::Tries,
    upstream::dial,
    worker::Worker,
};
use crate::balance::Wish;

/// Relays `client` to a backend of `site`, what was read of it or made up for it already first. The
/// connection counts as that backend's load until both sides have ended.
pub(super) async fn through<S>(
    worker: &Rc<Worker>,
    site: &Arc<Site>,
    client: (S, Bytes),
    peer: IpAddr,
) -> io::Result<()>
where
    S: Side,
{
    count(site);
    let passage = connect(worker, site, peer).await.map_err(|fault| {
        count_failed(site);
        io::Error::other(fault)
    })?;
    let silence = site.silence(&worker.settings);
    relay(client, (passage.stream, Bytes::new()), silence).await
}

/// A connection to a backend, counted as its load.
pub(super) struct Passage {
    pub stream: TcpStream,
    pub address: SocketAddr,
    _admission: Admission,
}

pub(super) async fn connect(
    worker: &Worker,
    site: &Site,
    client: IpAddr,
) -> Result<Passage, Fault> {
    let wish = Wish::NONE;
    let mut tries = Tries::new(worker, site, client, &wish);
    loop {
        let (index, admission) = tries.next(&|_| false).await?;
        let backend = &site.running().backends[index];
        let address = backend.server.address;
        let stopwatch = Stopwatch::start(site);
        match dial(address, worker).await {
            Ok(stream) => {
                stopwatch.connected(backend);
                return Ok(Passage { stream, address, _admission: admission });
            }
            Err(error) => {
                let why = dial_fault(worker, address, &error);
                stopwatch.failed(backend, why);
                tries.failed(index, admission, why);
            }
        }
    }
}
