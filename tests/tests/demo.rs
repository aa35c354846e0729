//! The demo: what it prints, and that it ends clean, also when it is interrupted.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::lab::{netns, process::program, topology};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

fn left_behind(demo: &Child) -> Vec<String> {
    netns::names(&format!("lb-{}-", demo.id()))
}

#[test]
fn the_demo_prints_one_object_and_leaves_nothing() -> Result<()> {
    let mut demo = Command::new(program("demo")?);
    let demo = demo.arg("--json").stdout(Stdio::piped()).spawn()?;
    let id = demo.id();
    let output = demo.wait_with_output()?;
    ensure!(output.status.success(), "{}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let services = report["services"].as_array().context("no services")?;
    let of = |key: &str| services.iter().map(|service| service[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["web", "tcp", "udp"]);
    assert_eq!(of("path"), ["proxy", "steer", "steer"]);
    assert_eq!(of("failed"), [0, 0, 0]);
    for service in services {
        let requests = service["requests"].as_u64().context("no requests")?;
        assert!(requests > 0, "{service}");
        let backends = service["backends"].as_array().context("no backends")?;
        let connections = backends.iter().map(|backend| backend["connections"].as_u64());
        let connections: Vec<_> = connections.map(Option::unwrap_or_default).collect();
        assert!(connections.iter().all(|&count| count > 0), "{service}");
        if service["path"] == "steer" {
            assert_eq!(connections.iter().sum::<u64>(), requests, "{service}");
        }
    }
    assert_eq!(netns::names(&format!("lb-{id}-")), [""; 0]);
    Ok(())
}

#[test]
fn ctrl_c_takes_the_lab_down() -> Result<()> {
    let mut demo =
        Command::new(program("demo")?).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let progress = BufReader::new(demo.stderr.take().context("no progress")?);
    let mut lines = progress.lines();
    let serving = lines.by_ref().map_while(Result::ok).find(|line| line.contains("tcp:"));
    serving.context("the demo never sent anything")?;
    assert_ne!(left_behind(&demo), [""; 0]);
    let directory = topology::directory(&format!("{}-0", demo.id()));
    assert!(directory.exists());
    kill(Pid::from_raw(i32::try_from(demo.id())?), Signal::SIGINT)?;
    lines.for_each(drop);
    let status = demo.wait()?;
    assert!(!status.success());
    assert_eq!(left_behind(&demo), [""; 0]);
    assert!(!directory.exists());
    Ok(())
}
