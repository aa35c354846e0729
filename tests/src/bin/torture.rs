//! `cargo xtask torture`: progress on stderr, the result on stdout.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lb_tests::{
    lab::interrupt::Interrupt,
    torture::{self, Extent},
};

/// Six kinds of traffic at once while the configuration changes all the time: nothing may fail.
#[derive(Parser)]
#[command(name = "cargo xtask torture")]
struct Flags {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Evenly over that time. Default: three a second.
    #[arg(long)]
    reloads: Option<usize>,
    /// What changes, and in which order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let Flags { seconds, reloads, seed, json } = Flags::parse();
    let reloads = reloads.unwrap_or(seconds as usize * 3);
    let report = torture::run(Extent { seconds, reloads, seed }, &Interrupt::catch()?)?;
    if json {
        eprint!("{report}");
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
