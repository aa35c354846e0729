//! `lb decap`: takes packets out of tunnels on a backend, in the foreground.

use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;
use lb_common::decap::Outcome;
use tokio::{select, time};
use tracing::{info, warn};

use crate::app::process::{
    privilege,
    signals::{SignalOrder, Signals},
};
use crate::{datapath::Decap, host::LocalAddresses, settings::XdpMode};

/// How often the host's addresses are looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// The flags of `lb decap`.
#[derive(Clone, Debug)]
pub struct DecapOptions {
    /// Not empty.
    pub interfaces: Vec<String>,
    pub mode: XdpMode,
    /// Who may send tunnelled packets. Empty: anybody.
    pub from: Vec<IpNet>,
    pub gue_port: u16,
}

/// Takes packets out of tunnels until SIGTERM or SIGINT; SIGHUP logs the counts. Blocks.
///
/// # Errors
///
/// No privilege, or an interface that does not exist or refuses the program.
pub fn decap(options: &DecapOptions) -> anyhow::Result<()> {
    privilege::check("lb decap")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: &DecapOptions) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let addresses = LocalAddresses::open()?;
    let mut decap = Decap::load(&options.from, options.gue_port)?;
    decap.set_local(addresses.all().await?)?;
    for interface in &options.interfaces {
        decap.attach(interface, options.mode).context("cannot take packets out of tunnels")?;
    }
    if options.from.is_empty() {
        warn!("tunnelled packets are accepted from anybody; `--from` limits them to the balancers");
    }
    info!(gue_port = options.gue_port, "taking packets out of tunnels");
    let mut look = time::interval(LOOK);
    loop {
        select! {
            order = signals.order() => {
                report(&decap)?;
                if order == SignalOrder::Stop {
                    return Ok(());
                }
            }
            _ = look.tick() => match addresses.all().await {
                Ok(all) => decap.set_local(all)?,
                Err(error) => warn!(%error, "continuing with the known addresses"),
            },
        }
    }
}

fn report(decap: &Decap) -> anyhow::Result<()> {
    let outcomes = decap.outcomes()?;
    let count = |wanted| {
        outcomes.iter().find(|(outcome, _)| *outcome == wanted).map_or(0, |(_, count)| *count)
    };
    info!(
        ipip = count(Outcome::Ipip),
        gue = count(Outcome::Gue),
        unwelcome = count(Outcome::Unwelcome),
        malformed = count(Outcome::Malformed),
        astray = count(Outcome::Astray),
        congested = count(Outcome::Congested),
        other = count(Outcome::Other),
        "frames so far"
    );
    Ok(())
}
