//! `cargo xtask bench control`: what a change costs the daemon among thousands of services.

use anyhow::Result;
use clap::Parser;
use lb_tests::bench_control::{self, Size};

/// CPU time of a change, and what it writes to the kernel's tables.
#[derive(Parser)]
#[command(name = "cargo xtask bench control")]
struct Flags {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Servers of each service.
    #[arg(long, default_value_t = 10)]
    servers: u32,
    /// Slots of a maglev ring, as `[node] maglev_table_size`; by the servers where it is left out.
    /// Kernel memory is four bytes for each, of each service.
    #[arg(long)]
    maglev_table_size: Option<u32>,
    /// Changes of each kind; medians count.
    #[arg(long, default_value_t = 101)]
    rounds: u32,
}

fn main() -> Result<()> {
    let Flags { json, services, servers, maglev_table_size, rounds } = Flags::parse();
    let size = Size { services, servers, maglev_size: maglev_table_size };
    let report = bench_control::run(size, rounds)?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
