//! What the demo's clients do, and what they count.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{
    progress::step,
    setting::{NAME, TCP_PORT, UDP_PORT},
};
use crate::{
    actors::client::{Answer, curl, tcp_echo, udp_echo},
    daemon::status::Status,
    lab::{
        interrupt::Interrupt,
        process::{PATIENCE, poll},
        topology::{DNS4, DNS6, Lab, VIP4, VIP6},
    },
};

const REQUESTS: u32 = 12;
const CONNECTIONS: u32 = 150;
const DATAGRAMS: u32 = 150;
/// Held open at one time, per family.
const HELD: usize = 15;
const HELD_REQUESTS: usize = 6;

/// Requests, connections or exchanges of datagrams, as the clients saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub requests: u64,
    pub failed: u64,
}

/// Counts by service.
#[derive(Clone, Debug, Default)]
pub struct Tally(pub BTreeMap<&'static str, Count>);

impl Tally {
    /// Counts one; a failure is said and counted, and the demo goes on.
    fn count<T>(&mut self, service: &'static str, what: &str, result: Result<T>) {
        let count = self.0.entry(service).or_default();
        count.requests += 1;
        if let Err(error) = result {
            count.failed += 1;
            step(&format!("FAILED {what}: {error:#}"));
        }
    }
}

/// One way of asking the `web` service, and what must come back.
struct Web {
    what: &'static str,
    flags: &'static [&'static str],
    scheme: &'static str,
    version: &'static str,
    status: u16,
}

const WEB: [Web; 4] = [
    Web {
        what: "HTTP/2 over TLS 1.3",
        flags: &["--http2", "--tlsv1.3"],
        scheme: "https",
        version: "2",
        status: 200,
    },
    Web {
        what: "HTTP/1.1 over TLS 1.3",
        flags: &["--http1.1", "--tlsv1.3"],
        scheme: "https",
        version: "1.1",
        status: 200,
    },
    Web {
        what: "HTTP/1.1 over TLS 1.2",
        flags: &["--http1.1", "--tls-max", "1.2"],
        scheme: "https",
        version: "1.1",
        status: 200,
    },
    Web {
        what: "HTTP/1.1 in clear, redirected to https",
        flags: &["--http1.1"],
        scheme: "http",
        version: "1.1",
        status: 301,
    },
];

/// curl to `web`, every way, over IPv4 and IPv6.
pub fn web(lab: &Lab, authority: &Path, tally: &mut Tally, interrupt: &Interrupt) -> Result<()> {
    for way in &WEB {
        step(&format!("web: {} × {}, IPv4 and IPv6", 2 * REQUESTS, way.what));
        for to in [IpAddr::from(VIP4), IpAddr::from(VIP6)] {
            for _ in 0..REQUESTS {
                interrupt.check()?;
                let url = format!("{}://{NAME}/demo", way.scheme);
                let answer = ask(lab, authority, to, way.flags, &url);
                tally.count("web", way.what, answer.and_then(|answer| way.accept(&answer)));
            }
        }
    }
    Ok(())
}

impl Web {
    fn accept(&self, answer: &Answer) -> Result<()> {
        ensure!(answer.status == self.status, "status {}", answer.status);
        ensure!(answer.version == self.version, "HTTP {}", answer.version);
        if self.status == 301 {
            ensure!(answer.redirect.starts_with("https://"), "to {}", answer.redirect);
        } else {
            ensure!(answer.body.contains("\"server\":\"b"), "body {}", answer.body);
        }
        Ok(())
    }
}

fn ask(lab: &Lab, authority: &Path, to: IpAddr, flags: &[&str], url: &str) -> Result<Answer> {
    let authority = authority.to_str().context("a path in UTF-8")?;
    let to = match to {
        IpAddr::V4(to) => to.to_string(),
        IpAddr::V6(to) => format!("[{to}]"),
    };
    let resolve = format!("{NAME}:*:{to}");
    let resolve = resolve.replace('*', if url.starts_with("https") { "443" } else { "80" });
    let mut arguments = vec!["--cacert", authority, "--resolve", &resolve];
    arguments.extend(flags);
    arguments.push(url);
    curl(&lab.client, &arguments)
}

/// Short connections to `tcp`.
pub fn tcp(lab: &Lab, tally: &mut Tally, interrupt: &Interrupt) -> Result<()> {
    step(&format!("tcp: {} connections, IPv4 and IPv6", 2 * CONNECTIONS));
    let to = [SocketAddr::from((VIP4, TCP_PORT)), (VIP6, TCP_PORT).into()];
    lab.client.within(|| exchange("tcp", to, CONNECTIONS, tcp_echo, tally, interrupt))?
}

/// Datagrams to `udp`, each from a socket of its own.
pub fn udp(lab: &Lab, tally: &mut Tally, interrupt: &Interrupt) -> Result<()> {
    step(&format!("udp: {} datagrams and answers, IPv4 and IPv6", 2 * DATAGRAMS));
    let to = [SocketAddr::from((DNS4, UDP_PORT)), (DNS6, UDP_PORT).into()];
    // Two sockets with the same port would be one flow: all stay open to the end.
    let mut sockets = Vec::new();
    let echo = |to, text: &str| {
        let (name, socket) = udp_echo(to, text)?;
        sockets.push(socket);
        Ok(name)
    };
    lab.client.within(|| exchange("udp", to, DATAGRAMS, echo, tally, interrupt))?
}

fn exchange(
    service: &'static str,
    to: [SocketAddr; 2],
    times: u32,
    mut echo: impl FnMut(SocketAddr, &str) -> Result<String>,
    tally: &mut Tally,
    interrupt: &Interrupt,
) -> Result<()> {
    for to in to {
        for number in 0..times {
            interrupt.check()?;
            tally.count(service, &to.to_string(), echo(to, &format!("hello {number}")));
        }
    }
    Ok(())
}

/// Keeps connections to `tcp` and requests to `web` open while `look` looks.
pub fn hold(
    lab: &Lab,
    authority: &Path,
    tally: &mut Tally,
    look: impl Fn() -> Result<Status>,
) -> Result<Status> {
    let connections = lab.client.within(|| {
        let to = [SocketAddr::from((VIP4, TCP_PORT)), (VIP6, TCP_PORT).into()];
        to.into_iter().flat_map(|to| (0..HELD).map(move |_| greet(to))).collect::<Vec<_>>()
    })?;
    let url = format!("https://{NAME}/delay/3000");
    let url = url.as_str();
    thread::scope(|scope| {
        let requests: Vec<_> = (0..HELD_REQUESTS)
            .map(|_| scope.spawn(move || ask(lab, authority, VIP4.into(), &["--http2"], url)))
            .collect();
        let ended = || requests.iter().all(thread::ScopedJoinHandle::is_finished);
        let seen = look_for(connections.len() as u64, ended, look);
        for request in requests {
            let answer = request.join().unwrap_or_else(|_| Err(anyhow!("a panic")));
            tally.count("web", "a request that takes 3 s", answer);
        }
        for connection in connections {
            tally.count("tcp", "a connection held open", connection);
        }
        seen
    })
}

fn greet(to: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.write_all(b"held\n")?;
    Ok(stream)
}

/// Looks until both paths show all that is held: `steered` connections, and the requests unless
/// they `ended` before all of them had begun. What was seen when most were.
fn look_for(
    steered: u64,
    ended: impl Fn() -> bool,
    look: impl Fn() -> Result<Status>,
) -> Result<Status> {
    let mut most = look()?;
    poll("live counts of held connections", || {
        let late = ended();
        let seen = look()?;
        let (steer, proxy) = (seen.live_on("steer"), seen.live_on("proxy"));
        if steer + proxy >= most.live() {
            most = seen;
        }
        Ok(steer >= steered && (proxy >= HELD_REQUESTS as u64 || late))
    })?;
    Ok(most)
}
