//! Composes the daemon: the one module that sees everything.

mod assembly;
mod privilege;
mod report;
mod signals;
mod sizing;
mod steering;
mod sweeping;
use crate::settings::Config;

/// # Errors
/// Always: the parts are not composed yet.
pub fn run(config: Config) -> anyhow::Result<()> {
    let services = config.services.len();
    anyhow::bail!("the daemon is not composed yet: {services} services would run");
}
