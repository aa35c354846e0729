//! What must work on a kernel before anybody says that lb runs there: `cargo xtask kernels` runs
//! this in a guest that boots it. Its parts need what a distribution's kernel has and a slim one
//! may lack, so they are no tests.

mod bond;
mod diagnosed;
mod programs;
mod steering;
mod trunk;

use std::time::Instant;

use anyhow::{Result, bail};

type Check = (&'static str, fn() -> Result<()>);

const CHECKS: [Check; 5] = [
    ("steering", steering::steering),
    ("bond-active-backup", bond::active_backup),
    ("bond-balance-xor", bond::balance_xor),
    ("vlan-trunk", trunk::tagged),
    ("vlan-device", trunk::by_its_name),
];

/// Runs every check, or those whose names contain one of `wanted`, also after one failed.
pub fn run(wanted: &[String]) -> Result<()> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| name.contains(it));
    let mut failed = Vec::new();
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_wanted(name)) {
        let started = Instant::now();
        let result = check();
        let took = started.elapsed().as_secs();
        match result {
            Ok(()) => println!("ok      {name:<20} {took:>4} s"),
            Err(error) => {
                println!("FAILED  {name:<20} {took:>4} s\n{error:?}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}
