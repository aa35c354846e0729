//! `cargo xtask bench xdp`: progress on stderr, the result on stdout.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench_xdp;

/// What one packet costs, beside two floors measured in the same run.
#[derive(Parser)]
#[command(name = "cargo xtask bench xdp")]
struct Flags {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Measurements of each program in each case; medians count.
    #[arg(long, default_value_t = 11)]
    rounds: u32,
    /// Packets in one measurement.
    #[arg(long, default_value_t = 200_000)]
    packets: u32,
    /// Only the cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let report = bench_xdp::run(flags.rounds, flags.packets, &flags.only)?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
