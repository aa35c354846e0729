//! Many reloads leave nothing behind: no descriptors, threads, memory or table entries.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::traffic::{Habit, failures, under},
    daemon::process::{Daemon, reload},
    lab::topology::vips,
};

use crate::scene::{ECHO, Scene, WEB};

/// What a process holds.
#[derive(Debug, PartialEq)]
struct Held {
    /// By what they are, such as `socket` or `anon_inode:bpf-map`.
    descriptors: BTreeMap<String, usize>,
    threads: usize,
}

fn held(daemon: &Daemon) -> Result<Held> {
    let process = format!("/proc/{}", daemon.id());
    let mut descriptors = BTreeMap::new();
    for entry in fs::read_dir(format!("{process}/fd"))? {
        // One that is closed meanwhile does not count.
        if let Ok(target) = fs::read_link(entry?.path()) {
            let kind =
                target.to_string_lossy().split([':', '(']).next().unwrap_or_default().to_owned();
            *descriptors.entry(kind).or_default() += 1;
        }
    }
    let threads = fs::read_dir(format!("{process}/task"))?.count();
    Ok(Held { descriptors, threads })
}

/// Resident memory in KiB.
fn resident(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn many_reloads_leak_nothing() -> Result<()> {
    let Scene { lab, daemon, servers, talks } = Scene::up()?;
    drop(talks);
    let reloads = |count: usize| -> Result<()> {
        for round in 0..count {
            let servers = 1 + round % lab.backends.len();
            Scene::configure(&lab, servers, round % 3, round % 2 == 0)?;
            let (done, said) = reload(&lab, &[])?;
            ensure!(done, "round {round}: {said}");
        }
        Scene::configure(&lab, lab.backends.len(), 0, false)?;
        reload(&lab, &[])?;
        Ok(())
    };
    let habits = [Habit::KeepAlive(vips(WEB)[0]), Habit::TcpEcho(vips(ECHO)[0])];
    let ((), tallies) = under(&lab, &habits, || reloads(30))?;
    assert_eq!(failures(&tallies), [""; 0]);
    let status = daemon.when_quiet()?;
    let (first, memory) = (held(&daemon)?, resident(&daemon)?);
    reloads(100)?;
    let after = daemon.when("the threads that read files are gone", |_| {
        held(&daemon).is_ok_and(|now| now.threads <= first.threads)
    })?;
    assert_eq!(held(&daemon)?.descriptors, first.descriptors);
    let grown = resident(&daemon)?.saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more than after thirty reloads");
    let names = |status: &lb_tests::daemon::status::Status| -> Vec<(String, usize)> {
        let services = status.services.iter();
        services.map(|service| (service.name.clone(), service.backends.len())).collect()
    };
    assert_eq!(names(&status), names(&after), "nothing that was removed is left");
    daemon.stop()?;
    drop(servers);
    Ok(())
}
