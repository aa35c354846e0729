//! A daemon under load that comes and goes.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::tcp_echo, iperf, servers, talk::Talk},
    daemon::{
        config::{service, steered},
        process::{Daemon, preamble},
        status::{Service, Status},
    },
    lab::{
        process::Process,
        topology::{Lab, VIP4, vips},
    },
};
use nix::sys::signal::Signal;

pub(crate) const PORT: u16 = 9000;
pub(crate) const WEB: u16 = 9001;
pub(crate) const PROXIED: u16 = 80;

pub(crate) struct Scene {
    pub bulk: iperf::Running,
    pub talks: Vec<Talk>,
    /// Flows that were ever opened through the service `tcp`.
    pub opened: u64,
    pub daemon: Option<Daemon>,
    pub servers: Vec<Process>,
    pub lab: Lab,
}

impl Scene {
    /// A daemon under load: a bulk transfer, and a quiet connection of each family.
    pub(crate) fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let mut servers = servers::start_all(&lab)?;
        servers.push(iperf::serve(&lab)?);
        let config = lab.directory().join("lb.toml");
        fs::write(config, preamble(&lab) + &services(&lab, &lab.backends.len()))?;
        let daemon = Daemon::run(&lab, &lab.directory().join("lb.toml"))?;
        let bulk = iperf::Running::start(&lab, VIP4.into())?;
        let talks = vips(PORT).map(|vip| Talk::open(&lab.client, vip));
        let talks: Vec<_> = talks.into_iter().collect::<Result<_>>()?;
        let opened = talks.len() as u64;
        Ok(Self { bulk, talks, opened, daemon: Some(daemon), servers, lab })
    }

    pub(crate) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon")
    }

    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        let mut daemon = self.daemon.take().context("no daemon")?;
        daemon.signal(signal)?;
        let status = daemon.wait()?;
        ensure!(signal == Signal::SIGKILL || status.success(), "{status}: {}", daemon.log());
        Ok(())
    }

    pub(crate) fn start(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::run(&self.lab, &self.lab.directory().join("lb.toml"))?);
        Ok(())
    }

    pub(crate) fn configure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let config = self.lab.directory().join("lb.toml");
        Ok(fs::write(&config, change(fs::read_to_string(&config)?))?)
    }

    /// Everything that was open is, and new connections can be opened.
    pub(crate) fn goes_on(&mut self) -> Result<()> {
        self.talks.iter_mut().try_for_each(Talk::echo)?;
        self.opens()?;
        self.bulk.makes_progress()?;
        ensure!(self.resets()? == 0, "the host's own TCP saw steered packets");
        Ok(())
    }

    pub(crate) fn opens(&mut self) -> Result<()> {
        for vip in vips(PORT) {
            self.lab.client.within(|| tcp_echo(vip, "hello"))??;
            self.opened += 1;
        }
        Ok(())
    }

    /// Resets that the balancer's own TCP sent.
    pub(crate) fn resets(&self) -> Result<u64> {
        let table = self.lab.lb.within(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = lines.next().zip(lines.next()).context("no TCP in snmp")?;
        let mut fields = names.split(' ').zip(values.split(' '));
        let resets = fields.find(|(name, _)| *name == "OutRsts").context("no OutRsts")?;
        Ok(resets.1.parse()?)
    }

    /// Every count is what is open: the bulk transfer's two connections and the quiet ones.
    pub(crate) fn counts(&self) -> Result<Status> {
        let open = 2 + self.talks.len() as u64;
        let daemon = self.daemon()?;
        let what = format!("{open} connections are live");
        let status = daemon.when(&what, |status| live(status) == open)?;
        let connections = |name: &str| status.service(name).map(Service::connections);
        assert_eq!(connections("tcp"), Some(self.opened), "{status:?}");
        assert_eq!(connections("iperf-tcp"), Some(2), "{status:?}");
        Ok(status)
    }

    pub(crate) fn program_id(&self, interface: &str) -> Result<String> {
        let link = self.lab.lb.ip(&format!("-details link show {interface}"))?;
        let words: Vec<_> = link.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "prog/xdp").context("no program")?;
        Ok(words[at + 2].to_owned())
    }

    /// Ends all connections: every count is 0 then.
    pub(crate) fn close(self) -> Result<()> {
        let Self { bulk, talks, daemon, lab, servers, .. } = self;
        drop((bulk, talks));
        let daemon = daemon.context("no daemon")?;
        daemon.when_quiet()?;
        daemon.stop()?;
        drop((servers, lab));
        Ok(())
    }
}

/// Live connections, each server counted once: several services may share it.
fn live(status: &Status) -> u64 {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    let counts = backends.map(|backend| (&backend.address, backend.live));
    counts.collect::<BTreeMap<_, _>>().values().sum()
}

/// iperf3's, an echo and a web server that is steered and proxied to, on the first `count`
/// backends.
pub(crate) fn services(lab: &Lab, count: &usize) -> String {
    let on = |port| {
        let all = servers::addresses(lab, port);
        let (v4, v6) = all.split_at(lab.backends.len());
        [&v4[v4.len() - count..], &v6[v6.len() - count..]].concat()
    };
    [
        "[proxy]\ndrain_timeout = \"1ms\"\n",
        &iperf::services(lab),
        &steered("tcp", "tcp", PORT, &on(servers::TCP)),
        &steered("web", "tcp", WEB, &on(servers::HTTP)),
        &service(
            "proxied",
            "tcp",
            &format!("port = {PROXIED}, handlers = [\"http\"]"),
            &on(servers::HTTP),
        ),
    ]
    .concat()
}
