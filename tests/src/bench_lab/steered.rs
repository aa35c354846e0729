//! iperf3 through XDP, beside the same path routed by the kernel.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{report::Report, report::Rounds, report::say};
use crate::{
    actors::iperf,
    daemon::process::Daemon,
    lab::{
        interrupt::Interrupt,
        topology::{Lab, VIP4, VIP6},
    },
};

pub(super) fn measure(
    ours: &Lab,
    theirs: &Lab,
    rounds: Rounds,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<()> {
    theirs.route_by_kernel()?;
    let _servers = [iperf::serve(ours)?, iperf::serve(theirs)?];
    let daemon = Daemon::start(ours, &iperf::services(ours))?;
    let backend = &theirs.backends[0];
    for (name, vip, routed) in [
        ("steered TCP, IPv4", IpAddr::from(VIP4), IpAddr::from(backend.v4)),
        ("steered TCP, IPv6", VIP6.into(), backend.v6.into()),
    ] {
        say(name);
        let (mut steered, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..rounds.rounds {
            interrupt.check()?;
            steered.push(gigabits(ours, vip, rounds.seconds)?);
            plain.push(gigabits(theirs, routed, rounds.seconds)?);
        }
        report.add(name, "Gbit/s", "the kernel routing, no XDP", steered, plain);
    }
    daemon.stop()
}

fn gigabits(lab: &Lab, to: IpAddr, seconds: u32) -> Result<f64> {
    let result = iperf::run(lab, to, &["--time", &seconds.to_string()])?;
    let bits = result.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
    Ok(bits.with_context(|| format!("iperf3 printed {result}"))? / 1e9)
}
