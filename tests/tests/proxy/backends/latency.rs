//! Who answers sooner gets more.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, header},
        servers,
    },
    lab::{
        stage::{Stage, listed},
        topology::{Lab, VIP4, VIP6},
    },
};

use crate::VIPS;

const BY_LATENCY: u16 = 80;
const BY_COUNT: u16 = 81;
/// Enough to tell; each of the slow one's takes its time.
const REQUESTS: usize = 150;
const REQUESTS_BY_COUNT: usize = 45;
/// The backend that is slow, its name, and by how many ms.
const SLOW: usize = 1;
const NAME: &str = "b2";
const SLOWNESS: u32 = 150;

fn services(lab: &Lab) -> Result<String> {
    let servers = listed(&servers::addresses(lab, servers::HTTP));
    let service = |(strategy, port): (&str, u16)| {
        format!(
            "[[services]]\nname = \"{strategy}\"\naddresses = [\"{VIP4}\", \"{VIP6}\"]\n\
             ports = [{{ port = {port}, handlers = [\"http\"] }}]\n\
             load_balancer.strategy = \"{strategy}\"\n\
             load_balancer.servers = [{servers}]\n\n"
        )
    };
    Ok([("peak_ewma", BY_LATENCY), ("p2c", BY_COUNT)].map(service).concat())
}

/// How many of the requests, one after the other, each server answered.
fn shares(stage: &Stage, to: SocketAddr, requests: usize) -> Result<BTreeMap<String, usize>> {
    stage.lab.client.within(|| {
        let mut connection = Stream::connect(to)?;
        let mut shares = BTreeMap::new();
        for _ in 0..requests {
            let answer = connection.ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")?;
            let name = header(&answer, "x-backend").context("a name")?;
            *shares.entry(name.to_owned()).or_default() += 1;
        }
        Ok(shares)
    })?
}

/// One request at a time, so that nobody has more to do than the others: counts see no difference.
#[test]
fn a_slow_backend_gets_little_where_latency_counts() -> Result<()> {
    let stage = Stage::up(services)?;
    stage.ask_backend(SLOW, &format!("/slow/{SLOWNESS}"))?;
    let vip = VIPS[0];
    let by_count = shares(&stage, (vip, BY_COUNT).into(), REQUESTS_BY_COUNT)?;
    ensure!(by_count[NAME] > REQUESTS_BY_COUNT / 6, "its share is a third: {by_count:?}");
    let by_latency = shares(&stage, (vip, BY_LATENCY).into(), REQUESTS)?;
    ensure!(by_latency.len() == 3, "nobody is left out: {by_latency:?}");
    // The others are not always fast either on a busy machine.
    ensure!(by_latency[NAME] < REQUESTS / 6, "{by_latency:?}, by counts alone {by_count:?}");
    stage.stop()
}
