//! Steered traffic, end to end: real clients, real servers, both families.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    ops::RangeInclusive,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{curl, udp_echo},
        crowd::Crowd,
        iperf, servers,
    },
    daemon::{config::steered, process::Daemon},
    lab::{
        process::{PATIENCE, poll, program},
        topology::{CLIENT4, CLIENT6, INNER4, INNER6, Lab, VIP4, VIP6, vips},
    },
    measure::diagnosis::diagnose,
};
use serde_json::Value;

/// Announced; the servers listen elsewhere.
const PORT: u16 = 9000;

#[test]
fn bulk_traffic_flows_both_ways() -> Result<()> {
    let lab = Lab::up()?;
    let _server = iperf::serve(&lab)?;
    let daemon = Daemon::start_with(&lab, "flow_timeouts.udp = \"1s\"", &iperf::services(&lab))?;
    for to in [IpAddr::from(VIP4), VIP6.into()] {
        for way in [&["--bytes", "64M"][..], &["--bytes", "64M", "--reverse"]] {
            let result = iperf::run(&lab, to, way)?;
            let received = number(&result, "/end/sum_received/bytes")?;
            // iperf3 stops counting when all was sent; some megabytes are under way then.
            assert!(received >= 32e6, "{to} {way:?}: {received} bytes arrived");
        }
        for way in [
            &["--udp", "--bitrate", "2M", "--time", "1"][..],
            &["--udp", "--bitrate", "2M", "--time", "1", "--reverse"],
        ] {
            let result = iperf::run(&lab, to, way)?;
            let sent = number(&result, "/end/sum/packets")?;
            let lost = number(&result, "/end/sum/lost_packets")?;
            // A busy machine may overrun a queue; a path that loses loses all.
            assert!(sent > 100.0 && lost < sent / 2.0, "{to} {way:?}: {lost} of {sent} lost");
        }
    }
    let status = daemon.when_quiet()?;
    for service in ["iperf-tcp", "iperf-udp"] {
        let service = status.service(service).context("no such service")?;
        assert!(service.connections() >= 4, "{service:?}");
    }
    assert_eq!(status.dropped("bad_transport_header"), 0);
    daemon.stop()
}

fn number(result: &Value, pointer: &str) -> Result<f64> {
    let number = result.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("no {pointer} in {result}"))
}

#[test]
fn ten_thousand_short_connections_and_none_fails() -> Result<()> {
    const CONNECTIONS: usize = 10_000;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("echo", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
    let daemon = Daemon::start(&lab, &services)?;
    let crowd = lab.client.within(|| Crowd::of(&vips(PORT), CONNECTIONS))?;
    ensure!(
        crowd.failures.is_empty(),
        "{} failed: {:?}\n{}",
        crowd.failures.len(),
        crowd.failures[0],
        diagnose(&lab, &daemon)
    );
    assert_eq!(crowd.total(), CONNECTIONS);
    let names: Vec<_> = crowd.answered.keys().map(String::as_str).collect();
    assert_eq!(names, ["b1", "b2", "b3"]);
    let status = daemon.when_quiet()?;
    let service = status.service("echo").context("no service")?;
    assert_eq!(service.connections(), CONNECTIONS as u64, "{service:?}");
    assert!(service.backends.iter().all(|backend| backend.connections > 0), "{service:?}");
    daemon.stop()
}

#[test]
fn backends_see_our_address_and_a_port_of_the_configured_range() -> Result<()> {
    const RANGE: RangeInclusive<u16> = 20_000..=20_099;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("http", "tcp", PORT, &servers::addresses(&lab, servers::HTTP));
    let daemon = Daemon::start_with(&lab, "source_ports = \"20000-20099\"", &services)?;
    for (vip, ours) in vips(PORT).into_iter().zip([IpAddr::from(INNER4), INNER6.into()]) {
        for _ in 0..10 {
            let answer = curl(&lab.client, &[&format!("http://{vip}/")])?;
            let body: Value = serde_json::from_str(&answer.body)?;
            let peer: SocketAddr = body["peer"].as_str().context("no peer")?.parse()?;
            assert_eq!(peer.ip().to_canonical(), ours);
            assert!(RANGE.contains(&peer.port()), "{peer}");
        }
    }
    daemon.when_quiet()?;
    daemon.stop()
}

/// Ten ports at two addresses of each family: each question is of a client's port that no other
/// has.
#[test]
fn ports_are_taken_again_and_addresses_take_turns() -> Result<()> {
    const QUESTIONS: usize = 300;
    const MORE: [&str; 2] = ["10.102.0.5", "fd65:2::5"];
    const NOWHERE: &str = "10.102.0.99";
    let lab = Lab::up()?;
    for (more, bits) in MORE.into_iter().zip([24, 64]) {
        lab.lb.ip(&format!("address add {more}/{bits} dev down0"))?;
    }
    let _servers = servers::start_all(&lab)?;
    let first = |port| lab.backends[0].addresses().map(|address| SocketAddr::new(address, port));
    let services = steered("http", "tcp", PORT, &first(servers::HTTP))
        + &steered("echo", "udp", PORT, &first(servers::UDP));
    let (own, own6) = (INNER4, INNER6);
    let node = format!(
        "source_ports = \"20000-20009\"\n\
         source_addresses = [\"{own}\", \"{own6}\", \"{}\", \"{}\", \"{NOWHERE}\"]",
        MORE[0], MORE[1]
    );
    let daemon = Daemon::start_with(&lab, &node, &services)?;
    ensure!(daemon.log().contains(NOWHERE), "{}", daemon.log());
    let mut check = lab.lb.command(program("lb")?);
    let checked = check.arg("check").arg(lab.directory().join("lb.toml")).output()?;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    ensure!(checked.status.success() && told.contains(&format!("names {NOWHERE}")), "{checked:?}");
    ensure!(MORE.iter().all(|address| !told.contains(&format!("names {address}"))), "{told}");
    for (vip, ours) in vips(PORT).into_iter().zip([own.into(), own6.into()]) {
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            let answer = curl(&lab.client, &[&format!("http://{vip}/")])?;
            let body: Value = serde_json::from_str(&answer.body)?;
            let peer: SocketAddr = body["peer"].as_str().context("no peer")?.parse()?;
            seen.insert(peer.ip().to_canonical());
        }
        let more: IpAddr = MORE[usize::from(vip.is_ipv6())].parse()?;
        assert_eq!(seen, BTreeSet::from([ours, more]));
    }
    lab.client.within(|| {
        for vip in vips(PORT) {
            let asked = (0..QUESTIONS).map(|_| udp_echo(vip, "hello"));
            // All stay open, so that each has a port of its own.
            asked.collect::<Result<Vec<_>>>()?;
        }
        Ok::<_, anyhow::Error>(())
    })??;
    let status = daemon.when("use and room are told", |status| {
        let ports = status.service("echo").and_then(|it| it.backends[0].source_ports);
        ports.is_some_and(|ports| ports.used == 20 && ports.room == 20)
    })?;
    let echo = status.service("echo").context("no service")?;
    assert_eq!((echo.no_source_port, status.dropped("ports_exhausted")), (0, 0));
    assert!(echo.connections() >= 2 * QUESTIONS as u64, "{echo:?}");
    daemon.stop()
}

/// A server that closes first keeps its end in TIME-WAIT. Each of few ports is taken again many
/// times, at once, by connections whose numbers it takes there: timestamps would decide otherwise.
#[test]
fn ends_in_time_wait_are_taken_by_later_numbers() -> Result<()> {
    const OWN_PORT: u16 = 7007;
    const CONNECTIONS: usize = 100;
    let lab = Lab::up()?;
    lab.client.set_sysctl("net/ipv4/tcp_timestamps", "0")?;
    let backend = &lab.backends[0];
    let servers = backend.addresses().map(|address| SocketAddr::new(address, OWN_PORT));
    for server in servers {
        let listener = backend.netns.within(|| TcpListener::bind(server))??;
        thread::spawn(move || listener.incoming().flatten().for_each(drop));
    }
    let node = "source_ports = \"20000-20015\"";
    let daemon = Daemon::start_with(&lab, node, &steered("own", "tcp", PORT, &servers))?;
    let vip = vips(PORT)[0];
    for _ in 0..CONNECTIONS {
        let line = lab.client.within(|| TcpStream::connect_timeout(&vip, PATIENCE))??;
        ensure!((&line).read(&mut [0])? == 0, "the server closes first");
    }
    let waiting = backend.netns.command("ss").args(["-Htan", "state", "time-wait"]).output()?;
    ensure!(waiting.stdout.iter().filter(|&&byte| byte == b'\n').count() >= 14, "{waiting:?}");
    // Of a client whose SYN is answered with an ACK.
    let refused = lab.client.within(resets_sent)??;
    ensure!(refused <= CONNECTIONS / 20, "{refused} of {CONNECTIONS} had to ask twice");
    daemon.stop()
}

/// By the TCP of the network namespace that the thread is in.
fn resets_sent() -> Result<usize> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let names = lines.next().context("names")?.split_whitespace();
    let values = lines.next().context("values")?.split_whitespace();
    let found = names.zip(values).find(|(name, _)| *name == "OutRsts").context("OutRsts")?;
    Ok(found.1.parse()?)
}

#[test]
fn datagrams_are_flows_of_their_own() -> Result<()> {
    const SOCKETS: usize = 200;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("echo", "udp", PORT, &servers::addresses(&lab, servers::UDP));
    let daemon = Daemon::start_with(&lab, "flow_timeouts.udp = \"2s\"", &services)?;
    // All stay open to the end: two with the same port would be one flow.
    let sockets = lab.client.within(|| {
        let vips = vips(PORT).into_iter().cycle().take(SOCKETS);
        vips.map(|vip| udp_echo(vip, "hello")).collect::<Result<Vec<_>>>()
    })??;
    // The same socket, the same backend.
    for (name, socket) in &sockets {
        socket.send(b"again")?;
        let mut buffer = [0; 64];
        if let Ok(length) = socket.recv(&mut buffer) {
            assert_eq!(buffer[..length], *format!("{name} again").as_bytes());
        }
    }
    let status = daemon.when_quiet()?;
    let service = status.service("echo").context("no service")?;
    assert!(service.connections() >= SOCKETS as u64, "{service:?}");
    assert!(service.backends.iter().all(|backend| backend.connections > 0), "{service:?}");
    daemon.stop()
}

/// What XDP sends does not make the kernel look whether a router still has the address that it had.
#[test]
fn the_gateways_to_clients_are_kept_and_clients_are_not() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("echo", "udp", PORT, &servers::addresses(&lab, servers::UDP));
    let daemon = Daemon::start(&lab, &services)?;
    let far = [IpAddr::from([192, 0, 2, 7]), "2001:db8:7::7".parse()?];
    let near = [IpAddr::from([10, 101, 0, 7]), "fd65:1::7".parse()?];
    for (network, gateway) in
        [("192.0.2.0/24", IpAddr::from(CLIENT4)), ("2001:db8:7::/64", CLIENT6.into())]
    {
        lab.lb.ip(&format!("route add {network} via {gateway} dev up0"))?;
    }
    let mut sockets = Vec::new();
    for (index, from) in near.into_iter().chain(far).enumerate() {
        lab.client.ip(&format!(
            "address add {from} dev eth0 {}",
            if from.is_ipv6() { "nodad" } else { "" }
        ))?;
        let to = vips(PORT)[index % 2];
        let socket = lab.client.within(|| std::net::UdpSocket::bind((from, 0)))??;
        socket.send_to(b"hello", to)?;
        socket.recv(&mut [0; 64])?;
        sockets.push(socket);
    }
    let kept = || lab.lb.ip("neigh show dev up0 proto 76");
    poll("both gateways are kept", || {
        let kept = kept()?;
        Ok(kept.contains(&CLIENT4.to_string()) && kept.contains(&CLIENT6.to_string()))
    })?;
    let kept = kept()?;
    ensure!(kept.lines().count() == 2 && kept.matches(" managed ").count() == 2, "{kept}");
    daemon.stop()
}
