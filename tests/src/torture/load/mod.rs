//! The six kinds of traffic, all at once.

mod count;
mod h2load;
mod iperf;
mod psql;
mod websocket;
mod websocket_h2;
mod wrk;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Result;

pub(super) use self::count::Count;
use self::{
    h2load::H2load,
    iperf::{Iperf, Protocol},
    psql::Psql,
    websocket::WebSocket,
    websocket_h2::Connection,
    wrk::{Connections, Wrk},
};
use super::names::{HTTP, HTTPS, POSTGRES, STEERED_TCP, STEERED_UDP};
use crate::lab::{
    process::Process,
    topology::{Lab, VIP4, VIP6, vips},
};

const WEBSOCKETS: usize = 4;

/// Requests that come and go.
pub(super) struct Short {
    stop: Arc<AtomicBool>,
    wrk: [Wrk; 2],
    h2load: H2load,
}

impl Short {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let [v4, v6] = vips(HTTP);
        Ok(Self {
            wrk: [
                Wrk::start(lab, v4, Connections::Kept)?,
                Wrk::start(lab, v6, Connections::ForEachRequest)?,
            ],
            h2load: H2load::start(lab, vips(HTTPS)[0], stop.clone())?,
            stop,
        })
    }

    pub(super) fn stop(self) -> Result<Vec<Count>> {
        self.stop.store(true, Ordering::Relaxed);
        let [kept, fresh] = self.wrk;
        Ok(vec![kept.stop()?, fresh.stop()?, self.h2load.stop()?])
    }
}

/// What is held for the whole time.
pub(super) struct Held {
    stop: Arc<AtomicBool>,
    websockets: Vec<WebSocket>,
    h2: [Connection; 2],
    psql: Psql,
}

impl Held {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (web, tls) = (vips(HTTP), "require");
        let websockets = web.into_iter().cycle().take(WEBSOCKETS);
        let websockets = websockets.map(|to| WebSocket::open(lab, to, stop.clone()));
        Ok(Self {
            websockets: websockets.collect::<Result<_>>()?,
            h2: [
                Connection::open(lab, web[0], stop.clone())?,
                Connection::open(lab, web[1], stop.clone())?,
            ],
            psql: Psql::open(lab, vips(POSTGRES)[0], tls, stop.clone())?,
            stop,
        })
    }

    pub(super) fn stop(self) -> Result<Vec<Count>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut counts = Vec::new();
        let websockets = self.websockets.into_iter().map(WebSocket::close);
        counts.push(sum(websockets)?);
        counts.push(sum(self.h2.into_iter().map(Connection::close))?);
        counts.push(self.psql.close()?);
        Ok(counts)
    }
}

fn sum(counts: impl Iterator<Item = Result<Count>>) -> Result<Count> {
    let mut all = Count::default();
    for count in counts {
        let count = count?;
        all.kind = count.kind;
        all.add(count);
    }
    Ok(all)
}

/// What the kernel steers.
pub(super) struct Steered {
    tcp: Iperf,
    udp: Iperf,
    /// Of UDP.
    server: Process,
    _server: Process,
}

impl Steered {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let serve = |port| crate::actors::iperf::serve_at(lab, port);
        let (tcp, udp) = (serve(STEERED_TCP)?, serve(STEERED_UDP)?);
        Ok(Self {
            _server: tcp,
            server: udp,
            tcp: Iperf::start(lab, VIP4.into(), STEERED_TCP, Protocol::Tcp)?,
            udp: Iperf::start(lab, VIP6.into(), STEERED_UDP, Protocol::Udp)?,
        })
    }

    pub(super) fn stop(self) -> Result<Vec<Count>> {
        let arrived = self.server.output();
        Ok(vec![self.tcp.stop("")?, self.udp.stop(&arrived)?])
    }
}
