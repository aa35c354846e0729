//! `cargo xtask bench proxy`: progress on stderr, the result on stdout.

use anyhow::Result;
use clap::Parser;
use lb_tests::{
    bench_proxy::{self, Extent},
    lab::interrupt::Interrupt,
};

/// What the proxy costs, beside nginx and HAProxy measured in the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench proxy")]
struct Flags {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Turns of each proxy in each case; medians count.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long one turn takes.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let extent = Extent { rounds: flags.rounds, seconds: flags.seconds };
    let report = bench_proxy::run(extent, &flags.only, &Interrupt::catch()?)?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
