//! iperf3 through the lab.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    daemon::config,
    lab::{
        process::{Process, output, poll},
        topology::Lab,
    },
};

pub const PORT: u16 = 5201;

/// Its services, as TOML. iperf3 opens a connection for control and one for data, which may be
/// UDP: one backend has all of them.
#[must_use]
pub fn services(lab: &Lab) -> String {
    let addresses = addresses(lab);
    ["tcp", "udp"]
        .map(|protocol| config::steered(&format!("iperf-{protocol}"), protocol, PORT, &addresses))
        .concat()
}

/// Of its server.
#[must_use]
pub fn addresses(lab: &Lab) -> [SocketAddr; 2] {
    lab.backends[0].addresses().map(|address| SocketAddr::new(address, PORT))
}

/// The server, on the first backend.
pub fn serve(lab: &Lab) -> Result<Process> {
    serve_at(lab, PORT)
}

/// The same at another port: each serves one client at a time.
pub fn serve_at(lab: &Lab, port: u16) -> Result<Process> {
    let backend = &lab.backends[0];
    let mut command = backend.netns.command("iperf3");
    command.args(["--server", "--forceflush", "--port", &port.to_string()]);
    let log = lab.directory().join(format!("iperf3-{port}.log"));
    let mut process = Process::start("iperf3", command, &log)?;
    poll("iperf3 listens", || {
        process.check()?;
        Ok(process.output().contains("listening"))
    })?;
    Ok(process)
}

/// A client that sends until it is stopped: at a steady rate, for what goes on beside it needs the
/// machine as well.
pub struct Running {
    client: Process,
}

impl Running {
    pub fn start(lab: &Lab, to: IpAddr) -> Result<Self> {
        let mut client = lab.client.command("iperf3");
        client.args(["--port", &PORT.to_string(), "--client", &to.to_string()]);
        client.args(["--time", "86400", "--interval", "0.1", "--forceflush"]);
        client.args(["--bitrate", "50M"]);
        let log = lab.directory().join("iperf3-client.log");
        let mut running = Self { client: Process::start("iperf3", client, &log)? };
        running.makes_progress()?;
        Ok(running)
    }

    /// Waits until it has sent something more: over the same connection, for it opens no other.
    pub fn makes_progress(&mut self) -> Result<()> {
        let before = self.intervals();
        poll("iperf3 sends", || {
            self.client.check()?;
            Ok(self.intervals() > before + 1)
        })
        .with_context(|| self.client.output())
    }

    /// Ends it by resets of its own, while it cannot do so otherwise. Where the server answers past
    /// lb nobody sees the end else: the server leaves data unread, and is the one that resets.
    pub fn abort(mut self, lab: &Lab) -> Result<()> {
        self.client.signal(Signal::SIGSTOP)?;
        let mut ss = lab.client.command("ss");
        output(ss.args(["--kill", "--tcp", "dport", "=", &format!(":{PORT}")]))?;
        self.client.signal(Signal::SIGKILL)?;
        self.client.wait().map(drop)
    }

    /// Intervals in which something was sent.
    fn intervals(&self) -> usize {
        let output = self.client.output();
        let lines = output.lines().filter(|line| is_interval(line));
        lines.filter(|line| !line.contains(" 0.00 Bytes")).count()
    }
}

/// Whether a line of either side's output is about an interval.
#[must_use]
pub fn is_interval(line: &str) -> bool {
    line.contains('-') && line.contains("sec")
}

/// One run of the client; what it reports. The server may still be ending the run before.
pub fn run(lab: &Lab, to: IpAddr, flags: &[&str]) -> Result<Value> {
    let mut report = Value::Null;
    poll("the iperf3 server is free", || {
        let mut client = lab.client.command("iperf3");
        client.args(["--json", "--port", &PORT.to_string(), "--client", &to.to_string()]);
        let text = output(client.args(flags));
        let text = text.with_context(|| format!("iperf3 {flags:?} to {to}"))?;
        report = serde_json::from_str(&text)?;
        let error = report["error"].as_str().unwrap_or_default();
        Ok(!error.contains("server is busy"))
    })?;
    Ok(report)
}
