//! A new TLS 1.3 connection for each request: a whole handshake, nothing resumed.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    contender::Contender, extent::Extent, ports::HTTPS, rustls_client::Client, turn::Work,
};
use crate::lab::topology::Lab;

pub(super) const NAME: &str = "handshake";

pub(super) fn run(lab: &Lab, contender: &Contender, extent: Extent) -> Result<Work> {
    let client = Client::new()?;
    lab.lb.within(|| -> Result<Work> {
        let started = Instant::now();
        let mut done = 0.0;
        while started.elapsed() < Duration::from_secs(extent.seconds.into()) {
            client.visit(contender.at(HTTPS), true)?;
            done += 1.0;
        }
        Ok(Work { done, seconds: started.elapsed().as_secs_f64() })
    })?
}
