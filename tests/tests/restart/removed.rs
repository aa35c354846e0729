//! Servers and services that leave the configuration while they have flows.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::{
        direct::Backends,
        process::{self, Daemon, preamble},
        status::{Backend, Status},
    },
    lab::{
        process::{PATIENCE, Process, poll},
        topology::{DNS4, DNS6, Lab, VIP4, VIP6, vips},
    },
};
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

const TALK: u16 = 7000;
const LINES: u16 = 7001;
/// In a range of ports.
const IN_RANGE: u16 = 7150;

/// A daemon that is started again whenever its configuration changes.
struct Scene {
    daemon: Option<Daemon>,
    _servers: Vec<Process>,
    lab: Lab,
}

impl Scene {
    fn up(services: impl Fn(&Lab) -> String) -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        Self::of(lab, servers, services)
    }

    fn of(lab: Lab, servers: Vec<Process>, services: impl Fn(&Lab) -> String) -> Result<Self> {
        let mut scene = Self { daemon: None, _servers: servers, lab };
        scene.configure(services)?;
        Ok(scene)
    }

    fn configure(&mut self, services: impl Fn(&Lab) -> String) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.signal(Signal::SIGTERM)?;
            let status = daemon.wait()?;
            ensure!(status.success(), "{status}: {}", daemon.log());
        }
        let config = self.lab.directory().join("lb.toml");
        let node = "[proxy]\ndrain_timeout = \"1ms\"\n";
        fs::write(&config, preamble(&self.lab) + node + &services(&self.lab))?;
        self.daemon = Some(Daemon::run(&self.lab, &config)?);
        Ok(())
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon")
    }
}

/// A client with a port of its own that never falls silent.
struct Sender(UdpSocket);

impl Sender {
    fn open(lab: &Lab, to: SocketAddr) -> Result<Self> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = lab.client.within(|| UdpSocket::bind(any))??;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self(socket))
    }

    /// Who answers the next datagram, if anybody does.
    fn ask(&self) -> Result<Option<String>> {
        let mut buffer = [0; 64];
        // An ICMP error about an earlier one is no answer, and no failure.
        let _ = self.0.send(b"line");
        let Ok(length) = self.0.recv(&mut buffer) else { return Ok(None) };
        let answer = std::str::from_utf8(&buffer[..length])?;
        Ok(Some(answer.split(' ').next().context("an answer without a name")?.to_owned()))
    }

    fn asks(&self, name: &str) -> Result<()> {
        poll(&format!("{name} answers"), || Ok(self.ask()?.as_deref() == Some(name)))
    }
}

/// A service whose ports lead to those backends of the lab, by number. `at`: the servers' port.
fn service(lab: &Lab, name: &str, ports: &str, at: u16, servers: &[usize], more: &str) -> String {
    let of = |family: usize| servers.iter().map(move |&number| (number, family));
    let servers = (0..2).flat_map(of).map(|(number, family)| {
        let address = lab.backends[number].addresses()[family];
        format!("{{ address = \"{}\" }}", SocketAddr::new(address, at))
    });
    let [v4, v6] = vips(0).map(|vip| vip.ip());
    let protocol = if at == servers::UDP { "udp" } else { "tcp" };
    format!(
        "[[services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\n\
         addresses = [\"{v4}\", \"{v6}\"]\nports = [{ports}]\n{more}\n\
         load_balancer.servers = [{}]\n",
        servers.collect::<Vec<_>>().join(", ")
    )
}

fn lines(lab: &Lab, servers: &[usize], more: &str) -> String {
    let ports = format!("{{ port = {LINES} }}, {{ start_port = 7100, end_port = 7199 }}");
    service(lab, "lines", &ports, servers::UDP, servers, more)
}

fn talk(lab: &Lab, servers: &[usize], more: &str) -> String {
    service(lab, "talk", &format!("{{ port = {TALK} }}"), servers::TCP, servers, more)
}

fn removed(status: &Status) -> Vec<&Backend> {
    let backends = status.services.iter().flat_map(|service| &service.backends);
    backends.filter(|backend| backend.removed).collect()
}

/// keepalived/keepalived#2163, kubernetes/kubernetes#76664 and #19029: a sender that is never
/// silent went on to a server that had been removed, for ever.
#[test]
fn datagrams_leave_a_server_that_was_removed() -> Result<()> {
    let mut scene = Scene::up(|lab| lines(lab, &[0], ""))?;
    let ports = [LINES, IN_RANGE].map(vips).concat();
    let senders = ports.iter().map(|&to| Sender::open(&scene.lab, to));
    let senders = senders.collect::<Result<Vec<_>>>()?;
    senders.iter().try_for_each(|sender| sender.asks("b1"))?;
    scene.configure(|lab| lines(lab, &[1], ""))?;
    // The first one that is answered at all, and every later one.
    for sender in &senders {
        for _ in 0..3 {
            sender.asks("b2")?;
        }
    }
    // With a deadline, they stay until that is over.
    scene.configure(|lab| lines(lab, &[2], "drain_deadline = \"2s\""))?;
    scene.daemon()?.when("b2 is past its time", |status| {
        removed(status).iter().all(|it| it.drain_remaining_ms == Some(0))
    })?;
    senders.iter().try_for_each(|sender| sender.asks("b3"))?;
    scene.daemon()?.when("nobody is leaving", |status| removed(status).is_empty())?;
    Ok(())
}

#[test]
fn connections_stay_at_a_server_that_was_removed_until_its_time_is_over() -> Result<()> {
    let deadline = |text: &str| format!("drain_deadline = \"{text}\"");
    let mut scene = Scene::up(|lab| talk(lab, &[0], ""))?;
    let mut talks = Vec::new();
    for vip in vips(TALK) {
        talks.push(Talk::open(&scene.lab.client, vip)?);
    }
    scene.configure(|lab| talk(lab, &[1], ""))?;
    talks.iter_mut().try_for_each(Talk::echo).context("without a deadline")?;
    let status = scene.daemon()?.status()?;
    let left = removed(&status);
    assert_eq!(left.len(), 2, "one of each family: {status:?}");
    assert!(left.iter().all(|it| it.draining && it.drain_remaining_ms.is_none() && it.live == 1));
    for _ in 0..2 {
        // A restart prolongs nothing.
        scene.configure(|lab| talk(lab, &[1], &deadline("1h")))?;
        talks.iter_mut().try_for_each(Talk::echo).context("before the deadline")?;
        let status = scene.daemon()?.status()?;
        let left = removed(&status);
        let time = |it: &&Backend| it.drain_remaining_ms.is_some_and(|left| left < 3_600_000);
        assert!(left.len() == 2 && left.iter().all(time), "{left:?}");
    }
    scene.configure(|lab| talk(lab, &[1], &deadline("1ms")))?;
    for talk in &mut talks {
        ensure!(talk.echo().is_err(), "past the deadline");
    }
    let status = scene.daemon()?.when("both are gone", |status| removed(status).is_empty())?;
    ensure!(status.dropped("backend_gone") >= 2, "they were reset");
    Ok(())
}

/// kubernetes/kubernetes#81775: who used a port again was led to a server that had left.
#[test]
fn a_port_that_is_used_again_leads_to_a_server_that_takes_new_connections() -> Result<()> {
    for mode in ["nat", "l2", "gue"] {
        let lab = Lab::up()?;
        let direct = mode != "nat";
        let backends = if direct { Some(Backends::up(&lab, mode, &[])?) } else { None };
        let servers = if direct { Vec::new() } else { servers::start_all(&lab)? };
        let more = format!("forwarding = \"{mode}\"");
        let mut scene = Scene::of(lab, servers, |lab| talk(lab, &[0], &more))?;
        let open = |scene: &Scene| {
            let each = vips(TALK).map(|vip| scene.lab.client.within(|| connect(vip, 40_000)));
            each.into_iter().map(|opened| opened?).collect::<Result<Vec<_>>>()
        };
        let answers = |streams: &[TcpStream], name: &str, when: &str| {
            for stream in streams {
                let server = say(stream).with_context(|| format!("{mode}: {when}"))?;
                ensure!(server == name, "{mode}: {server} answers {when}");
            }
            Ok(())
        };
        let lost = open(&scene)?;
        answers(&lost, "b1", "at first")?;
        scene.configure(|lab| talk(lab, &[0, 1], &more))?;
        for address in scene.lab.backends[0].addresses() {
            let at = SocketAddr::new(address, servers::TCP);
            let (drains, said) = process::drain(&scene.lab, "talk", at, &[])?;
            ensure!(drains, "{said}");
        }
        answers(&lost, "b1", "while it drains")?;
        lost.into_iter().try_for_each(forget)?;
        let again = open(&scene)?;
        answers(&again, "b2", "a new connection")?;
        scene.configure(|lab| talk(lab, &[2], &more))?;
        answers(&again, "b2", "where it was removed")?;
        again.into_iter().try_for_each(forget)?;
        let last = open(&scene)?;
        answers(&last, "b3", "a new connection")?;
        drop((last, scene, backends));
    }
    Ok(())
}

/// kubernetes/kubernetes#141371: datagrams went on to the servers of a service that was deleted.
#[test]
fn a_service_that_was_removed_is_undeclared() -> Result<()> {
    let other = |lab: &Lab| service(lab, "other", "{ port = 9 }", servers::TCP, &[0], "");
    let proxied = |lab: &Lab| {
        service(lab, "web", "{ port = 80, handlers = [\"http\"] }", servers::HTTP, &[0], "")
    };
    let mut scene =
        Scene::up(|lab| lines(lab, &[0], "") + &talk(lab, &[0], "") + &proxied(lab) + &other(lab))?;
    let ports = [LINES, IN_RANGE].map(vips).concat();
    let senders = ports.iter().map(|&to| Sender::open(&scene.lab, to));
    let senders = senders.collect::<Result<Vec<_>>>()?;
    senders.iter().try_for_each(|sender| sender.asks("b1"))?;
    let mut talks = Vec::new();
    for vip in vips(TALK) {
        talks.push(Talk::open(&scene.lab.client, vip)?);
    }
    scene.configure(other)?;
    for talk in &mut talks {
        ensure!(talk.echo().is_err(), "a line was answered");
    }
    for sender in &senders {
        ensure!(sender.ask()?.is_none(), "a datagram was answered");
    }
    let status = scene.daemon()?.status()?;
    ensure!(status.dropped("undeclared_port") >= senders.len() as u64, "{status:?}");
    for name in ["lines", "talk"] {
        let shown = status.service(name).is_none_or(|service| service.removed);
        ensure!(shown, "{name}: {status:?}");
    }
    let before = status.dropped("undeclared_port");
    for vip in vips(80) {
        let timeout = Duration::from_millis(200);
        let refused =
            scene.lab.client.within(|| TcpStream::connect_timeout(&vip, timeout).is_err())?;
        ensure!(refused, "somebody listens");
    }
    let status = scene.daemon()?.when("all of it is gone", |status| {
        status.services.len() == 1 && status.flows.live == 0 && status.live() == 0
    })?;
    ensure!(status.dropped("undeclared_port") > before, "{status:?}");
    // No service has the addresses any more: they are not ours.
    scene.configure(|lab| lines(lab, &[0], ""))?;
    senders.iter().try_for_each(|sender| sender.asks("b1"))?;
    scene.configure(|lab| {
        let moved = other(lab).replace(&VIP4.to_string(), &DNS4.to_string());
        moved.replace(&VIP6.to_string(), &DNS6.to_string())
    })?;
    for sender in &senders {
        ensure!(sender.ask()?.is_none(), "a datagram was answered");
    }
    scene.daemon()?.when("nothing is left", |status| status.flows.live == 0)?;
    Ok(())
}

/// From that port, which may have been used a moment ago.
fn connect(to: SocketAddr, port: u16) -> Result<TcpStream> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => ([0; 4], port).into(),
        SocketAddr::V6(_) => ([0_u16; 8], port).into(),
    };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&any.into())?;
    socket.connect_timeout(&to.into(), PATIENCE).with_context(|| format!("from {port}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Who answers a line.
fn say(mut stream: &TcpStream) -> Result<String> {
    stream.write_all(b"hello\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.strip_suffix(" hello\n").context("an echo")?.to_owned())
}

/// Ends a connection as a client does whose power is cut: nobody is told.
fn forget(stream: TcpStream) -> Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option is an int, which lives.
    let done = unsafe {
        let on = (&raw const on).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, on, length)
    };
    ensure!(done == 0, "TCP_REPAIR: {}", std::io::Error::last_os_error());
    Ok(())
}
