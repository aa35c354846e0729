//! `cargo xtask demo`: progress on stderr, the result on stdout.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lb_tests::{
    demo::{self, setting},
    lab::{
        interrupt::Interrupt,
        topology::{KEPT, VIP4, VIP6},
    },
};

/// Balances real traffic in a lab of network namespaces and shows what happened.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Flags {
    /// Leave the lab up to play with.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<bool> {
    let report = demo::run(flags.keep, &Interrupt::catch()?)?;
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    if flags.keep {
        eprint!("{}", invitation());
    }
    Ok(report.is_good())
}

fn invitation() -> String {
    let name = setting::NAME;
    let (tcp, udp) = (setting::TCP_PORT, setting::UDP_PORT);
    let exec = "cargo xtask lab exec";
    let directory = lb_tests::lab::topology::directory(KEPT);
    let directory = directory.display();
    let curl = format!("curl --cacert {directory}/cert.pem --connect-to");
    format!(
        "\nThe lab is up. Try:\n\
         \x20 {exec} client -- {curl} ::{VIP4}: https://{name}/\n\
         \x20 {exec} client -- {curl} ::[{VIP6}]: https://{name}/\n\
         \x20 {exec} client -- ping -c 3 {VIP4}\n\
         \x20 {exec} client -- bash -c 'exec 3<>/dev/tcp/{VIP4}/{tcp}; echo hello >&3; \
         head -n 1 <&3'\n\
         \x20 {exec} lb -- ip -details link show up0\n\
         \x20 target/debug/lb status --socket {directory}/admin.sock\n\
         Configuration and logs are in {directory} (UDP is at port {udp} of its own addresses).\n\
         When done: cargo xtask lab down\n"
    )
}
