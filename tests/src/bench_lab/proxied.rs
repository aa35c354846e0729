//! wrk through the proxy, beside nginx as a reverse proxy at the same place.

use std::{fmt::Write as _, fs, net::SocketAddr};

use anyhow::{Context as _, Result, bail};

use super::{
    peer::{self, GATEWAY},
    report::{Report, Rounds, say},
};
use crate::{
    actors::servers,
    daemon::process::Daemon,
    demo::setting::certificate,
    lab::{
        interrupt::Interrupt,
        process::output,
        topology::{Lab, VIP4},
    },
    measure::cpu,
};

const CONNECTIONS: u32 = 32;
/// Requests before a case is measured: pools fill, processors wake.
const WARM_UP_SECONDS: u32 = 1;

pub(super) fn measure(
    ours: &Lab,
    theirs: &Lab,
    rounds: Rounds,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<()> {
    let _servers = [servers::start_all(ours)?, servers::start_all(theirs)?];
    certificate(ours.directory())?;
    certificate(theirs.directory())?;
    let daemon = Daemon::start(ours, &service(ours))?;
    let nginx = peer::start(theirs)?;
    for (name, scheme) in [("proxy HTTP/1.1", "http"), ("proxy HTTP/1.1 over TLS", "https")] {
        say(name);
        let at = |host: &str| format!("{scheme}://{host}/bytes/24");
        let (ours_at, theirs_at) = (at(&VIP4.to_string()), at(GATEWAY));
        let (mut lb, mut peer) = (Figures::default(), Figures::default());
        for _ in 0..rounds.rounds {
            interrupt.check()?;
            lb.add(&load(ours, &ours_at, rounds.seconds, &[daemon.id()])?);
            peer.add(&load(theirs, &theirs_at, rounds.seconds, &cpu::family(nginx.id())?)?);
        }
        report.add(name, "requests/s", "nginx", lb.rates, peer.rates);
        report.add(name, "CPU µs/request", "nginx", lb.costs, peer.costs);
    }
    daemon.stop()
}

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    costs: Vec<f64>,
}

struct Load {
    requests: f64,
    seconds: f64,
    cpu_seconds: f64,
}

impl Figures {
    fn add(&mut self, load: &Load) {
        self.rates.push(load.requests / load.seconds);
        self.costs.push(load.cpu_seconds * 1e6 / load.requests);
    }
}

fn service(lab: &Lab) -> String {
    let directory = lab.directory().display();
    let mut list = String::new();
    let backends = servers::addresses(lab, servers::HTTP);
    for address in backends.iter().filter(|address| SocketAddr::is_ipv4(address)) {
        let _ = write!(list, "{{ address = \"{address}\" }}, ");
    }
    format!(
        r#"[[certificates]]
cert = "{directory}/cert.pem"
key = "{directory}/key.pem"

[[services]]
name = "web"
addresses = ["{VIP4}"]
load_balancer.servers = [{list}]

  [[services.ports]]
  port = 80
  handlers = ["http"]

  [[services.ports]]
  port = 443
  handlers = ["tls", "http"]
  tls_options = {{ default_self_signed = true }}
"#
    )
}

/// Loads `url` and looks at what that cost the processes `ids`.
fn load(lab: &Lab, url: &str, seconds: u32, ids: &[u32]) -> Result<Load> {
    wrk(lab, url, WARM_UP_SECONDS)?;
    let before = cpu::seconds(ids)?;
    let (requests, seconds) = wrk(lab, url, seconds)?;
    let cpu_seconds = cpu::seconds(ids)? - before;
    Ok(Load { requests, seconds, cpu_seconds })
}

/// Requests and seconds. A single failed request fails the bench.
fn wrk(lab: &Lab, url: &str, seconds: u32) -> Result<(f64, f64)> {
    const DONE: &str = "function done(s, l, r)\n\
        local e = s.errors\n\
        io.write(string.format('figures %d %d %d\\n', s.requests, s.duration, \
        e.connect + e.read + e.write + e.status + e.timeout))\n\
        end\n";
    let script = lab.directory().join("wrk.lua");
    fs::write(&script, DONE)?;
    let mut wrk = lab.client.command("wrk");
    wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
    wrk.args(["--duration", &format!("{seconds}s"), "--script"]).arg(&script).arg(url);
    let text = output(&mut wrk)?;
    let line = text.lines().find_map(|line| line.strip_prefix("figures "));
    let line = line.with_context(|| format!("wrk printed {text}"))?;
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    match figures[..] {
        [requests, micros, 0.0] if requests > 0.0 => Ok((requests, micros / 1e6)),
        _ => bail!("wrk to {url} saw errors: {text}"),
    }
}
