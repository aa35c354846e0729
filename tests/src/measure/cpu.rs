//! What processes cost, and where they run.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::lab::process::output;

/// User and system time of all threads of `ids` so far, in seconds. The kernel counts in ticks of
/// ten milliseconds.
pub fn seconds(ids: &[u32]) -> Result<f64> {
    let ticks = output(Command::new("getconf").arg("CLK_TCK"))?;
    let ticks: f64 = ticks.trim().parse()?;
    let mut total = 0.0;
    for id in ids {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name, in parentheses, may hold spaces. utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
        let times = fields.split_whitespace().skip(11).take(2);
        for time in times {
            total += time.parse::<f64>()?;
        }
    }
    Ok(total / ticks)
}

/// Resident memory of `ids`, in KiB.
pub fn resident(ids: &[u32]) -> Result<f64> {
    let mut total = 0.0;
    for id in ids {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let line = line.context("a process without memory")?;
        total += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(total)
}

/// A process and its children.
pub fn family(id: u32) -> Result<Vec<u32>> {
    // pgrep fails where there is none.
    let children = Command::new("pgrep").args(["--parent", &id.to_string()]).output()?.stdout;
    let children = String::from_utf8(children)?;
    let children = children.lines().filter_map(|id| id.parse().ok());
    Ok(children.chain([id]).collect())
}

/// Keeps all threads of the process `id`, and those that it will start, on one core.
pub fn pin(id: u32, core: usize) -> Result<()> {
    let arguments = ["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &id.to_string()];
    output(Command::new("taskset").args(arguments)).map(drop)
}
