//! Requests that stay open until the backends release them: curl at `/hold`.

use std::{
    iter,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::{
    process::{Process, poll},
    topology::Lab,
};

/// A curl that has the response's header and the first line of its body.
pub struct Held {
    process: Process,
    /// The backend that holds it.
    pub server: String,
}

/// Has curl open each of `asks`, its arguments and a URL, `count` times, and waits until all are
/// held.
pub fn hold(lab: &Lab, count: usize, asks: &[(Vec<&str>, String)]) -> Result<Vec<Held>> {
    let all = asks.iter().flat_map(|ask| iter::repeat_n(ask, count));
    let started: Vec<_> =
        all.map(|(arguments, url)| start(lab, arguments, url)).collect::<Result<_>>()?;
    started.into_iter().map(Held::wait).collect()
}

fn start(lab: &Lab, arguments: &[&str], url: &str) -> Result<Process> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut curl = lab.client.command("curl");
    curl.args(["--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--insecure"]);
    curl.args(arguments).arg(url);
    Process::start(url, curl, &lab.directory().join(format!("held-{number}.log")))
}

impl Held {
    fn wait(mut process: Process) -> Result<Self> {
        poll("a held request is answered", || {
            process.check()?;
            Ok(process.output().contains('\n'))
        })?;
        let output = process.output();
        let server = output.lines().next().context("no name")?.to_owned();
        ensure!(server.starts_with('b'), "the first line is {server:?}");
        Ok(Self { process, server })
    }

    /// Waits for the end of a request that was released.
    pub fn finish(mut self) -> Result<()> {
        let status = self.process.wait()?;
        let output = self.process.output();
        ensure!(status.success(), "curl ended with {status}: {output}");
        ensure!(output == format!("{}\nreleased\n", self.server), "heard {output:?}");
        Ok(())
    }

    /// SIGKILL: its sockets are closed by the kernel.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait()?;
        Ok(())
    }
}
