//! `cargo xtask bench lab`: progress on stderr, the result on stdout.

use anyhow::Result;
use clap::Parser;
use lb_tests::{
    bench_lab::{self, Rounds},
    lab::interrupt::Interrupt,
};

/// Real traffic through the lab, beside peers measured in the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench lab")]
struct Flags {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Measurements of each side of each case; medians count.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long one measurement takes.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let rounds = Rounds { rounds: flags.rounds, seconds: flags.seconds };
    let report = bench_lab::run(rounds, &Interrupt::catch()?)?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
