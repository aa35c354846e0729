//! What is not steered: refused on announced addresses, untouched on the host's own.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::tcp_echo, servers},
    daemon::{
        config::{echoes, steered},
        process::Daemon,
    },
    lab::{
        process::{PATIENCE, output},
        stage::Stage,
        topology::{Lab, vips},
    },
};
use socket2::{Domain, Socket, Type};

const PORT: u16 = 9000;
/// Long enough for an answer that there is, short enough to wait for one that there is not.
const MOMENT: Duration = Duration::from_secs(1);
/// lb's own addresses towards the client.
const OWN: [&str; 2] = ["10.101.0.1", "fd65:1::1"];

fn stage() -> Result<Stage> {
    Stage::up(|lab| Ok(echoes(lab, PORT)))
}

fn ping(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let mut ping = lab.client.command("ping");
    ping.args(["-n", "-c", "3", "-i", "0.2", "-w", "60"]).args(arguments);
    output(&mut ping).map(drop)
}

#[test]
fn undeclared_ports_get_no_answer() -> Result<()> {
    let stage = stage()?;
    for vip in vips(PORT + 1) {
        let before = stage.dropped("undeclared_port")?;
        let (tcp, udp) = stage.lab.client.within(|| {
            let tcp = TcpStream::connect_timeout(&vip, MOMENT).map(drop).unwrap_err();
            let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let udp = UdpSocket::bind(any).and_then(|socket| {
                socket.connect(vip)?;
                socket.set_read_timeout(Some(MOMENT))?;
                socket.send(b"hello")?;
                socket.recv(&mut [0; 16])
            });
            (tcp, udp.unwrap_err())
        })?;
        // Neither a reset nor an ICMP error.
        assert_eq!(tcp.kind(), ErrorKind::TimedOut, "{vip}");
        assert_eq!(udp.kind(), ErrorKind::WouldBlock, "{vip}");
        let counted = stage.dropped("undeclared_port")? - before;
        assert!(counted >= 2, "{vip}: {counted}");
    }
    stage.stop()
}

#[test]
fn an_announced_address_answers_ping() -> Result<()> {
    let stage = stage()?;
    for vip in vips(PORT) {
        ping(&stage.lab, &[&vip.ip().to_string()])?;
        ping(&stage.lab, &["-s", "1400", &vip.ip().to_string()])?;
    }
    assert_eq!(stage.daemon.status()?.verdicts.reply, 12);
    stage.stop()
}

#[test]
fn the_host_s_own_traffic_is_untouched() -> Result<()> {
    let stage = stage()?;
    let before = stage.daemon.status()?;
    for own in OWN {
        ping(&stage.lab, &[own])?;
        // Fragments.
        ping(&stage.lab, &["-s", "4000", own])?;
    }
    // IP options: record route, timestamp.
    ping(&stage.lab, &["-R", OWN[0]])?;
    ping(&stage.lab, &["-T", "tsonly", OWN[0]])?;
    for own in OWN {
        own_listener_serves(&stage.lab, own.parse()?)?;
    }
    let after = stage.daemon.status()?;
    assert_eq!(after.dropped_in_all(), before.dropped_in_all(), "{:?}", after.drops);
    assert_eq!(after.verdicts.steer, before.verdicts.steer);
    assert!(after.verdicts.pass > before.verdicts.pass);
    stage.stop()
}

/// TCP to a port of the host, which also is a steered port of the announced addresses.
fn own_listener_serves(lab: &Lab, own: IpAddr) -> Result<()> {
    const SIZE: usize = 1 << 20;
    let to = SocketAddr::new(own, PORT);
    let listener = lab.lb.within(|| TcpListener::bind(to))??;
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            stream.write_all(&all)
        });
        let mut stream = lab.client.within(|| TcpStream::connect_timeout(&to, PATIENCE))??;
        stream.write_all(&vec![7; SIZE])?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut back = Vec::new();
        stream.read_to_end(&mut back)?;
        ensure!(back == vec![7; SIZE], "{} bytes came back", back.len());
        Ok(())
    })
}

#[test]
fn a_used_up_ttl_ends_the_way_here() -> Result<()> {
    let stage = stage()?;
    for vip in vips(PORT) {
        let before = stage.dropped("ttl_exceeded")?;
        let refused = stage.lab.client.within(|| {
            let domain = Domain::for_address(vip);
            let syn = with_ttl(Socket::new(domain, Type::STREAM, None)?, vip, 1)?;
            let refused = syn.connect_timeout(&vip.into(), MOMENT).is_err();
            let datagram = with_ttl(Socket::new(domain, Type::DGRAM, None)?, vip, 1)?;
            datagram.send_to(b"hello", &vip.into())?;
            std::io::Result::Ok(refused)
        })??;
        assert!(refused, "{vip}");
        let counted = stage.dropped("ttl_exceeded")? - before;
        assert!(counted >= 2, "{vip}: {counted}");
        // With one more it gets through.
        stage.lab.client.within(|| {
            let socket =
                with_ttl(Socket::new(Domain::for_address(vip), Type::STREAM, None)?, vip, 2)?;
            socket.connect_timeout(&vip.into(), PATIENCE)
        })??;
    }
    assert_eq!(stage.daemon.status()?.service("udp").context("udp")?.connections(), 0);
    stage.stop()
}

fn with_ttl(socket: Socket, to: SocketAddr, hops: u32) -> std::io::Result<Socket> {
    if to.is_ipv4() {
        socket.set_ttl_v4(hops)?;
    } else {
        socket.set_unicast_hops_v6(hops)?;
    }
    Ok(socket)
}

#[test]
fn when_source_ports_run_out_new_connections_are_refused_and_old_ones_go_on() -> Result<()> {
    const PORTS: usize = 4;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let servers = lab.backends[0].addresses().map(|first| SocketAddr::new(first, servers::TCP));
    let services = steered("tcp", "tcp", PORT, &servers);
    let node = "source_ports = \"4096-4099\"";
    let daemon = Daemon::start_with(&lab, node, &services)?;
    let vip = vips(PORT)[0];
    let held = lab.client.within(|| {
        let connections = (0..PORTS).map(|_| TcpStream::connect_timeout(&vip, PATIENCE));
        connections.collect::<std::io::Result<Vec<_>>>()
    })??;
    daemon.when("all are live", |status| status.live() == PORTS as u64)?;
    let one_more = lab.client.within(|| TcpStream::connect_timeout(&vip, PATIENCE))?;
    assert_eq!(one_more.map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let status = daemon.status()?;
    assert!(status.dropped("ports_exhausted") > 0);
    assert_eq!((status.live(), status.services[0].connections()), (PORTS as u64, PORTS as u64));
    for mut stream in &held {
        stream.write_all(b"still here\n")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; 14];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"b1 still here\n");
    }
    drop(held);
    daemon.when("their ports are free again", |status| {
        status.flows.live == 0
            && lab.client.within(|| tcp_echo_soon(vip)).is_ok_and(|served| served)
    })?;
    daemon.when_quiet()?;
    daemon.stop()
}

fn tcp_echo_soon(to: SocketAddr) -> bool {
    TcpStream::connect_timeout(&to, MOMENT).is_ok() && tcp_echo(to, "hello").is_ok()
}
