//! `cargo xtask fuzz`: the packet path on the host against the loaded program.

use anyhow::{Result, ensure};
use clap::Parser;
use lb_tests::fuzz_xdp;

/// Random frames over random tables, through `balance` on the host and through the loaded program:
/// both must decide alike and leave the same behind. A failure is printed with its seed and the
/// fewest frames that show it.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz")]
struct Flags {
    /// How many.
    #[arg(long, default_value_t = 1_000_000)]
    frames: u64,
    /// Of the first sequence; the next ones count up.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give up after so many failures.
    #[arg(long, default_value_t = 3)]
    failures: usize,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let report = fuzz_xdp::run(flags.frames, flags.seed, flags.failures)?;
    print!("{report}");
    ensure!(report.failures.is_empty(), "the two differ");
    Ok(())
}
