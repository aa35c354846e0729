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
    exchange::{ATTEMPTS, count, count_failed, dial_fault},
    limits::Admission,
    relay::{Side, relay},
    routes::Site,
    upstream::dial,
    worker::Worker,
};
use crate::balance::{Ask, Wish};

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
    let silence = (&*worker.settings).into();
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
    let mut tried = Vec::new();
    let mut fault = None;
    let mut earlier = None;
    while tried.len() < ATTEMPTS {
        let wish = &Wish::NONE;
        let ask = Ask { load: &worker.load, client, tried: &tried, wish, is_free: &|_| false };
        let admitted = site.gate.admit(worker, site, &ask, earlier.take()).await;
        let (index, admission) = admitted.map_err(|why| fault.unwrap_or(why))?;
        let address = site.running().backends[index].server.address;
        match dial(address, &worker.settings).await {
            Ok(stream) => return Ok(Passage { stream, address, _admission: admission }),
            Err(error) => fault = Some(dial_fault(address, &error)),
        }
        tried.push(index);
        earlier = Some(admission);
    }
    Err(fault.unwrap_or(Fault::Unreachable))
}
