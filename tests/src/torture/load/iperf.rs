//! iperf3 through steered ports: one TCP and one UDP session for the whole time.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use super::count::Count;
use crate::{
    actors::iperf::is_interval,
    lab::{process::Process, topology::Lab},
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn kind(self) -> &'static str {
        match self {
            Self::Tcp => "iperf3 over steered TCP",
            Self::Udp => "iperf3 over steered UDP",
        }
    }

    /// At a steady rate: what goes on beside it needs the machine as well.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Tcp => &["--bitrate", "20M"],
            Self::Udp => &["--udp", "--bitrate", "4M", "--length", "1000", "--window", "400K"],
        }
    }
}

pub(super) struct Iperf {
    client: Process,
    protocol: Protocol,
}

impl Iperf {
    pub(super) fn start(lab: &Lab, to: IpAddr, port: u16, protocol: Protocol) -> Result<Self> {
        let mut client = lab.client.command("iperf3");
        client.args(["--port", &port.to_string(), "--client", &to.to_string()]);
        client.args(["--time", "86400", "--interval", "1", "--forceflush"]).args(protocol.flags());
        let log = lab.directory().join(format!("iperf3-{protocol:?}.log"));
        Ok(Self { client: Process::start("iperf3", client, &log)?, protocol })
    }

    /// Each second is a request, and one without a byte a failed one. UDP: `server` is what the
    /// server says of what arrived.
    pub(super) fn stop(mut self, server: &str) -> Result<Count> {
        let mut count = Count::of(self.protocol.kind());
        if let Err(error) = self.client.check() {
            count.fail(&error);
        }
        let text = self.client.output();
        for line in text.lines().filter(|line| is_interval(line)) {
            count.requests += 1;
            if line.contains(" 0.00 Bytes") {
                count.fail(&anyhow::anyhow!("a second without a byte: {line}"));
            }
        }
        if self.protocol == Protocol::Udp {
            for line in server.lines().filter(|line| is_interval(line)) {
                let lost = lost_datagrams(line).with_context(|| format!("in {line:?}"))?;
                if lost > 0 {
                    count.failed += lost;
                    count.note(format!("lost datagrams: {line}"));
                }
            }
        }
        Ok(count)
    }
}

/// Of `… 0.012 ms  3/500 (0.6%)`.
fn lost_datagrams(line: &str) -> Option<u64> {
    let share = line.split_whitespace().find(|word| word.contains('/') && !word.contains("sec"))?;
    share.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_datagrams_are_read() {
        let line = "[  5]   1.00-2.00   sec   488 KBytes  4.00 Mbits/sec  0.012 ms  3/500 (0.6%)  ";
        assert_eq!(lost_datagrams(line), Some(3));
        assert!(is_interval(line));
    }
}
