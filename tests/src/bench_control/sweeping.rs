//! What the walk through a full flow table costs.

use std::fmt;

use anyhow::{Context as _, Result};
use lb::{
    app,
    datapath::{Datapath, DatapathConfig, clock},
    service::FlowTimeouts,
};
use lb_common::{
    abi::{Address, Flow, flow_state},
    tables::Part,
};
use serde::Serialize;

use super::size::cpu_time;

/// Servers that the flows go to.
const SERVERS: u32 = 100_000;

/// Medians.
#[derive(Clone, Debug, Serialize)]
pub struct SweepFigures {
    pub flows: u64,
    /// Of one walk.
    pub cpu_ms: f64,
    /// Until the next walk.
    pub pause_ms: f64,
    /// Of one core, by the daemon's pauses.
    pub core_percent: f64,
}

impl fmt::Display for SweepFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, cpu_ms, pause_ms, core_percent } = self;
        writeln!(
            f,
            "a sweep over {flows} flows: {cpu_ms:.1} ms of CPU, then {:.1} s of pause: \
             {core_percent:.2} % of a core",
            pause_ms / 1000.0
        )
    }
}

/// Sweeps a table of so many flows, all of them lively.
pub(crate) fn measure(flows: u32, rounds: u32) -> Result<SweepFigures> {
    let config = DatapathConfig {
        max_flows: flows,
        max_half_open: 1024,
        load_slots: SERVERS,
        ..DatapathConfig::default()
    };
    let mut datapath = Datapath::load(&config, FlowTimeouts::default())?;
    let now = clock::now();
    let state = flow_state::COUNTED | flow_state::CONFIRMED;
    for number in 0..flows {
        let flow = flow(number, now);
        if datapath.flows.enter(Part::Established, state, &flow, now).is_some() {
            datapath.load.correct(lb::load::LoadSlot(flow.load), 1);
        }
    }
    let mut samples = Vec::new();
    let mut swept = None;
    for _ in 0..rounds {
        let began = cpu_time()?;
        let sweep = datapath.sweeper.sweep(now);
        samples.push(cpu_time()?.saturating_sub(began));
        swept = Some(sweep.population.established);
    }
    samples.sort_unstable();
    let cpu = *samples.get(samples.len() / 2).context("no rounds")?;
    let pause = app::pause_after(cpu);
    Ok(SweepFigures {
        flows: swept.unwrap_or(0),
        cpu_ms: cpu.as_secs_f64() * 1000.0,
        pause_ms: pause.as_secs_f64() * 1000.0,
        core_percent: 100.0 * cpu.as_secs_f64() / (cpu + pause).as_secs_f64(),
    })
}

fn flow(number: u32, seen: u64) -> Flow {
    let [_, a, b, c] = number.to_be_bytes();
    let load = number % SERVERS;
    let [_, d, e, f] = load.to_be_bytes();
    Flow {
        protocol: 6,
        client: Address::v4([100, a, b, c]),
        vip: Address::v4([203, 0, 113, 1]),
        client_port: [9, 9],
        vip_port: [1, 187],
        backend_port: [1, 187],
        source_port: ((number / SERVERS) as u16 + 2048).to_be_bytes(),
        backend_address: Address::v4([10, d, e, f]),
        source: Address::v4([172, 16, 0, 1]),
        load,
        backend: load,
        service: load / 10,
        seen,
        ..Flow::default()
    }
}
