//! `lb decap`: what a backend runs for `ipip` and `gue`.

use std::{net::IpAddr, num::NonZeroU16, process::ExitCode};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::{
    logging::{self, LogFormat},
    output::fail,
};
use crate::{
    app::{self, DecapOptions},
    settings::XdpMode,
};

#[derive(Debug, Args)]
pub(super) struct DecapFlags {
    /// Interface that tunnelled packets come in by; may be repeated.
    #[arg(long = "interface", value_name = "IF", required = true)]
    interfaces: Vec<String>,
    /// How to attach the program.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    mode: Mode,
    /// Networks to take tunnelled packets from; all others are left to the host. Default: all [for
    /// example 172.16.0.0/16, where the balancers' `ipip` comes from]
    #[arg(long, value_name = "PREFIX", num_args = 1.., value_parser = network)]
    from: Vec<IpNet>,
    /// UDP port of GUE.
    #[arg(long, value_name = "PORT", default_value = "6080")]
    gue_port: NonZeroU16,
    /// Format of the log on standard error.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Native, or generic if the driver cannot.
    Auto,
    Native,
    Generic,
}

pub(super) fn decap(flags: DecapFlags) -> ExitCode {
    let mode = match flags.mode {
        Mode::Auto => XdpMode::Auto,
        Mode::Native => XdpMode::Native,
        Mode::Generic => XdpMode::Generic,
    };
    let DecapFlags { interfaces, from, .. } = flags;
    let options = DecapOptions { interfaces, mode, from, gue_port: flags.gue_port.get() };
    match logging::start(flags.log_format).and_then(|()| app::decap(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Parses `10.0.0.0/8`, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    let help = "write a network such as 10.0.0.0/8 or fd00::/8, or an address";
    let network = parsed.ok_or_else(|| format!("this is not a network: {help}"))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!("it has bits set beyond its prefix: write {}", network.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        assert_eq!(network("10.0.0.0/8"), Ok("10.0.0.0/8".parse().unwrap()));
        assert_eq!(network("fd00::1"), Ok("fd00::1/128".parse().unwrap()));
        assert!(network("10.0.0.1/8").unwrap_err().contains("write 10.0.0.0/8"));
        assert!(network("lo").unwrap_err().contains("not a network"));
    }
}
