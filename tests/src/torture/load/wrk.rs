//! wrk: over connections that are kept, or with a connection for each request.

use std::{fs, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::count::Count;
use crate::{
    lab::{process::Process, topology::Lab},
    torture::names::HOST,
};

/// Whether connections are kept, and what that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    Kept,
    ForEachRequest,
}

impl Connections {
    fn kind(self) -> &'static str {
        match self {
            Self::Kept => "wrk, kept connections",
            Self::ForEachRequest => "wrk, a connection a request",
        }
    }

    /// Servers wait so many ms with each answer: that is the pace, and changes come amid requests.
    fn path(self) -> &'static str {
        match self {
            Self::Kept => "/delay/4",
            Self::ForEachRequest => "/delay/10",
        }
    }
}

pub(super) struct Wrk {
    process: Process,
    connections: Connections,
}

/// Counts every status that is not 2xx; wrk itself counts those from 400 on alone.
const SCRIPT: &str = "local threads = {}\n\
    function setup(thread) table.insert(threads, thread) end\n\
    function init(args) odd = 0 end\n\
    function response(status)\n\
    if status < 200 or status > 299 then odd = odd + 1 end\n\
    end\n\
    function done(summary)\n\
    local odd = 0\n\
    for _, thread in ipairs(threads) do odd = odd + thread:get('odd') end\n\
    local e = summary.errors\n\
    io.write(string.format('figures %d %d %d %d %d %d\\n', summary.requests, \
    e.connect, e.read, e.write, e.timeout, odd))\n\
    end\n";
const FIGURES: [&str; 5] =
    ["connecting failed", "reading failed", "writing failed", "timed out", "another status"];

impl Wrk {
    pub(super) fn start(lab: &Lab, to: SocketAddr, connections: Connections) -> Result<Self> {
        let script = lab.directory().join("wrk.lua");
        fs::write(&script, SCRIPT)?;
        let mut wrk = lab.client.command("wrk");
        wrk.args(["--threads", "1", "--duration", "86400s", "--timeout", "60s", "--script"]);
        wrk.arg(&script).args(["--header", &format!("Host: {HOST}")]);
        match connections {
            Connections::Kept => wrk.args(["--connections", "6"]),
            Connections::ForEachRequest => {
                wrk.args(["--connections", "3", "--header", "Connection: close"])
            }
        };
        wrk.arg(format!("http://{to}{}", connections.path()));
        let log = lab.directory().join(format!("wrk-{connections:?}.log"));
        Ok(Self { process: Process::start("wrk", wrk, &log)?, connections })
    }

    /// On SIGINT it says what it has counted.
    pub(super) fn stop(mut self) -> Result<Count> {
        self.process.signal(Signal::SIGINT)?;
        let status = self.process.wait()?;
        let text = self.process.output();
        ensure!(status.success(), "wrk ended with {status}: {text}");
        let line = text.lines().find_map(|line| line.strip_prefix("figures "));
        let line = line.with_context(|| format!("wrk printed {text}"))?;
        let figures: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let (&requests, errors) = figures.split_first().context("figures")?;
        let mut count = Count { requests, ..Count::of(self.connections.kind()) };
        for (what, &times) in FIGURES.iter().zip(errors).filter(|(_, times)| **times > 0) {
            count.failed += times;
            count.note(format!("{what} {times} times"));
        }
        Ok(count)
    }
}
