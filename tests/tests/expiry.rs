//! Flows that end without a word: they are forgotten, and the live counts come back to 0.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::client::{tcp_echo, udp_echo},
    daemon::{
        config::{echoes, steered},
        status::Status,
    },
    lab::{
        process::{PATIENCE, Process, output},
        stage::Stage,
        topology::vips,
    },
};
use nix::sys::signal::Signal;

const PORT: u16 = 9000;
const HELD: usize = 20;
/// Short enough to watch.
const TIMEOUTS: &str = "flow_timeouts = { half_open = \"2s\", established = \"4s\", closed = \"1s\", \
                        reset = \"1s\", udp_answered = \"1h\" }";
/// Of the service `udp` alone.
const UDP_TIMEOUTS: &str = "flow_timeouts.udp_answered = \"2s\"\n";

fn stage() -> Result<Stage> {
    Stage::up_with(TIMEOUTS, |lab| Ok(echoes(lab, PORT) + UDP_TIMEOUTS))
}

/// Connections that were answered, and are seen as live.
fn hold(stage: &Stage) -> Result<Vec<TcpStream>> {
    let connect = || {
        let vips = vips(PORT).into_iter().cycle().take(HELD);
        let open = vips.map(|vip| TcpStream::connect_timeout(&vip, PATIENCE));
        open.collect::<std::io::Result<Vec<_>>>()
    };
    let held = stage.lab.client.within(connect)??;
    stage.daemon.when("they are live", |status| status.live() == HELD as u64)?;
    Ok(held)
}

fn all_is_forgotten(stage: &Stage) -> Result<()> {
    let is_empty = |status: &Status| status.live() == 0 && status.flows.live == 0;
    stage.daemon.when("no count and no flow is left", is_empty).map(drop)
}

/// All is forgotten, and a client that comes now is served.
fn end(stage: Stage) -> Result<()> {
    all_is_forgotten(&stage)?;
    for vip in vips(PORT) {
        stage.lab.client.within(|| tcp_echo(vip, "hello"))??;
    }
    stage.daemon.when_quiet()?;
    ensure!(!stage.daemon.log().contains("drifted"), "{}", stage.daemon.log());
    stage.stop()
}

/// Nothing leaves the client any more, least of all a FIN.
const SILENCE: &str = "add table inet silence; \
     add chain inet silence out { type filter hook output priority 0; policy drop; }";

#[test]
fn connections_of_a_client_that_falls_silent_are_forgotten() -> Result<()> {
    let stage = stage()?;
    let held = hold(&stage)?;
    output(stage.lab.client.command("nft").arg(SILENCE))?;
    drop(held);
    all_is_forgotten(&stage)?;
    output(stage.lab.client.command("nft").args(["delete", "table", "inet", "silence"]))?;
    end(stage)
}

#[test]
fn connections_over_a_link_that_breaks_are_forgotten() -> Result<()> {
    let stage = stage()?;
    let held = hold(&stage)?;
    stage.lab.client.ip("link set eth0 down")?;
    drop(held);
    all_is_forgotten(&stage)?;
    stage.lab.client.ip("link set eth0 up")?;
    // Taking the link down took these along.
    stage.lab.client.ip("addr replace fd65:1::2/64 dev eth0 nodad")?;
    stage.lab.client.ip("route replace default via 10.101.0.1")?;
    stage.lab.client.ip("-6 route replace default via fd65:1::1")?;
    end(stage)
}

/// linkerd2#3605, cilium#2697: the client must not wait for its own timeouts.
#[test]
fn clients_of_forgotten_connections_are_told() -> Result<()> {
    let stage = stage()?;
    let held = hold(&stage)?;
    all_is_forgotten(&stage)?;
    for mut line in held {
        line.set_read_timeout(Some(PATIENCE))?;
        let told = line.write_all(b"still there?").and_then(|()| line.read(&mut [0; 16]));
        let error = told.err().context("a reset")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    ensure!(stage.daemon.status()?.dropped("unknown_flow_reset") >= HELD as u64);
    end(stage)
}

/// Nor must the server: no socket of this host has the source port, and its stack says so.
#[test]
fn servers_of_forgotten_connections_are_told() -> Result<()> {
    const OWN_PORT: u16 = 7007;
    let stage = Stage::up_with(TIMEOUTS, |lab| {
        let servers = lab.backends[0].addresses().map(|it| SocketAddr::new(it, OWN_PORT));
        Ok(echoes(lab, PORT) + &steered("own", "tcp", PORT + 1, &servers))
    })?;
    let backend = &stage.lab.backends[0];
    let mut held = Vec::new();
    for (vip, address) in vips(PORT + 1).into_iter().zip(backend.addresses()) {
        let listener = backend.netns.within(|| TcpListener::bind((address, OWN_PORT)))??;
        let client = stage.lab.client.within(|| TcpStream::connect_timeout(&vip, PATIENCE))??;
        held.push((listener.accept()?.0, client));
    }
    stage.daemon.when("they are live", |status| status.live() == 2)?;
    all_is_forgotten(&stage)?;
    for (mut line, _) in held {
        line.set_read_timeout(Some(PATIENCE))?;
        let told = line.write_all(b"still there?").and_then(|()| line.read(&mut [0; 16]));
        let error = told.err().context("a reset")?;
        ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    }
    end(stage)
}

#[test]
fn connections_of_a_killed_process_are_counted_out() -> Result<()> {
    let stage = stage()?;
    let mut clients = Vec::new();
    for number in 0..HELD {
        let vip = vips(PORT)[number % 2];
        let log = stage.lab.directory().join(format!("client-{number}.log"));
        let mut command = stage.lab.client.command("bash");
        let (address, port) = (vip.ip(), vip.port());
        command.arg("-c").arg(format!(
            "exec 3<>/dev/tcp/{address}/{port}; while echo hi >&3; do sleep 0.2; done"
        ));
        clients.push(Process::start("client", command, &log)?);
    }
    stage.daemon.when("they are live", |status| status.live() == HELD as u64)?;
    for client in &mut clients {
        client.signal(Signal::SIGKILL)?;
        client.wait()?;
    }
    end(stage)
}

#[test]
fn a_syn_that_nobody_answers_is_forgotten() -> Result<()> {
    let stage = stage()?;
    for backend in &stage.lab.backends {
        output(backend.netns.command("nft").arg(SILENCE))?;
    }
    let vip = vips(PORT)[0];
    let refused = stage.lab.client.within(|| TcpStream::connect_timeout(&vip, PATIENCE / 60))?;
    assert!(refused.is_err(), "{refused:?}");
    for backend in &stage.lab.backends {
        output(backend.netns.command("nft").args(["delete", "table", "inet", "silence"]))?;
    }
    assert!(stage.daemon.status()?.services[0].connections() > 0);
    end(stage)
}

#[test]
fn silent_datagram_flows_are_forgotten() -> Result<()> {
    let stage = stage()?;
    let sockets = stage.lab.client.within(|| {
        let vips = vips(PORT).into_iter().cycle().take(HELD);
        vips.map(|vip| udp_echo(vip, "hello")).collect::<Result<Vec<_>>>()
    })??;
    assert!(stage.daemon.status()?.service("udp").is_some_and(|udp| udp.connections() >= 20));
    all_is_forgotten(&stage)?;
    // The same sockets begin anew.
    for (_, socket) in &sockets {
        socket.send(b"again")?;
    }
    stage.daemon.when("they are live again", |status| status.live() == HELD as u64)?;
    end(stage)
}
