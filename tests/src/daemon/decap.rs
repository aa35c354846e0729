//! `lb decap` on backends.

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use crate::lab::{
    process::{Process, poll, program},
    topology::{Backend, Lab},
};

/// One of them. It ends when dropped.
pub struct Decap(Process);

impl Decap {
    /// Starts it on a backend's only interface and waits until it is attached.
    pub fn start(lab: &Lab, backend: &Backend, flags: &[&str]) -> Result<Self> {
        let mut command = backend.netns.command(program("lb")?);
        command.args(["decap", "--interface", "eth0"]).args(flags);
        let log = lab.directory().join(format!("decap-{}.log", backend.name));
        let mut process = Process::start("lb decap", command, &log)?;
        poll("lb decap is attached", || {
            process.check()?;
            Ok(process.output().contains("taking packets out of tunnels"))
        })
        .with_context(|| process.output())?;
        Ok(Self(process))
    }

    /// A count of its log, asked for now.
    pub fn count(&mut self, name: &str) -> Result<u64> {
        let before = self.reports();
        self.0.signal(Signal::SIGHUP)?;
        poll("lb decap reports", || {
            self.0.check()?;
            Ok(self.reports() > before)
        })?;
        let output = self.0.output();
        let last = output.lines().rfind(|line| line.contains("frames so far"));
        let last = last.context("no report")?;
        let field = last.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")));
        field.with_context(|| format!("no {name} in {last}"))?.parse().context("a count")
    }

    fn reports(&self) -> usize {
        self.0.output().matches("frames so far").count()
    }

    /// Ends it in order.
    pub fn stop(mut self) -> Result<()> {
        let status = self.0.stop()?;
        anyhow::ensure!(status.success(), "lb decap ended with {status}: {}", self.0.output());
        Ok(())
    }
}
