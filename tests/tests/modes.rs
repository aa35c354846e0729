//! Backends that answer clients directly: each way of reaching them, with real clients and servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, UdpSocket},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{Stream, curl, tcp_echo, udp_echo},
        iperf, servers,
    },
    daemon::{
        config,
        decap::Decap,
        direct::{self, Backends},
        process::{self, Daemon},
        status::Status,
    },
    lab::{
        process::{output, poll, program},
        topology::{Lab, VIP4, VIP6, vips},
    },
};
use nix::sys::socket::{getsockopt, sockopt};
use serde_json::Value;

/// So that counts come back to 0 while somebody waits for it: nobody sees the backends' FINs.
const NODE: &str = "flow_timeouts = { closing = \"1s\", closed = \"1s\", udp = \"1s\", \
                    udp_unanswered = \"1s\" }";
/// Connections of each kind and family: enough that every server has some.
const EACH: usize = 48;

struct Stage {
    daemon: Daemon,
    backends: Backends,
    lab: Lab,
}

impl Stage {
    /// All three servers' ports, steered by `mode`.
    fn up(mode: &str, decap: &[&str]) -> Result<Self> {
        let lab = Lab::up()?;
        let backends = Backends::up(&lab, mode, decap)?;
        let service = |name, protocol, port| {
            direct::steered(mode, name, protocol, &servers::addresses(&lab, port))
        };
        let services = [
            service("http", "tcp", servers::HTTP),
            // Tunnels are narrow anyway.
            if mode == "l2" { "mtu = 1400\n".to_owned() } else { String::new() },
            service("tcp", "tcp", servers::TCP),
            service("udp", "udp", servers::UDP),
            // Its server is on the first backend alone, where it listens for the addresses of all.
            direct::steered(mode, "bulk", "tcp", &iperf::addresses(&lab)),
        ];
        let daemon = Daemon::start_with(&lab, NODE, &services.concat())?;
        Ok(Self { daemon, backends, lab })
    }

    /// As much as there is room for in a short while, sent through lb, and answered past it.
    fn bulk(&self) -> Result<()> {
        const BYTES: f64 = 64e6;
        for to in [IpAddr::from(VIP4), VIP6.into()] {
            let report = iperf::run(&self.lab, to, &["--bytes", "64M"])?;
            let received = report.pointer("/end/sum_received/bytes").and_then(Value::as_f64);
            let received = received.with_context(|| format!("{to}: nothing in {report}"))?;
            // iperf3 stops counting when all was sent; some megabytes are under way then.
            ensure!(received >= BYTES / 2.0, "{to}: {received} bytes arrived");
        }
        // Two connections for each family, and one for each time that the server was still busy.
        // They need not end: iperf3 leaves data unread, so that the server resets the client, past
        // us.
        let status = self.daemon.status()?;
        let service = status.service("bulk").context("a service")?;
        ensure!(service.connections() >= 4, "{service:?}");
        Ok(())
    }

    /// Requests, lines and datagrams of both families, by real clients; each service is used by all
    /// servers, and no answer passes lb.
    fn exercise(&self) -> Result<()> {
        let before = self.direct_packets()?;
        // Kept, or one gets the port of another, and its flow.
        let (mut names, mut sockets) = (BTreeSet::new(), Vec::new());
        for (http, (tcp, udp)) in vips(servers::HTTP)
            .into_iter()
            .zip(vips(servers::TCP).into_iter().zip(vips(servers::UDP)))
        {
            let answer = curl(&self.lab.client, &[&format!("http://{http}/bytes/200000")])?;
            assert_eq!((answer.status, answer.body.len()), (200, 200_000), "{http}");
            for number in 0..EACH {
                let line = format!("line {number}");
                names.insert(("tcp", self.lab.client.within(|| tcp_echo(tcp, &line))??));
                let (name, socket) = self.lab.client.within(|| udp_echo(udp, &line))??;
                names.insert(("udp", name));
                sockets.push(socket);
            }
        }
        let expected = ["tcp", "udp"].map(|kind| ["b1", "b2", "b3"].map(|name| (kind, name)));
        let names: Vec<_> = names.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
        assert_eq!(names, expected.concat());
        self.list_flows()?;
        let direct = self.direct_packets()? - before;
        ensure!(direct > 4 * EACH as u64, "{direct} packets came directly");
        let status = self.daemon.when_quiet()?;
        for (service, at_least) in [("http", 2), ("tcp", 2 * EACH), ("udp", 2 * EACH)] {
            let service = status.service(service).context("a service")?;
            assert!(service.connections() >= at_least as u64, "{service:?}");
        }
        for reason in ["inconsistent", "no_headroom", "no_route", "unknown_flow"] {
            assert_eq!(status.dropped(reason), 0, "{reason}");
        }
        Ok(())
    }

    /// Flows are found by their servers as the configuration names them, also in a tunnel with a
    /// port of its own.
    fn list_flows(&self) -> Result<()> {
        let mut found = 0;
        for server in servers::addresses(&self.lab, servers::UDP) {
            let mut lb = self.lab.lb.command(program("lb")?);
            lb.args(["flows", "--json", "--backend", &server.to_string()]);
            lb.arg("--socket").arg(process::socket(&self.lab));
            let listed: Value = serde_json::from_str(&output(&mut lb)?)?;
            found += listed["flows"].as_array().context("a list")?.len();
        }
        ensure!(found > 0, "no server has a flow");
        Ok(())
    }

    /// Packets that the client got by the link that does not lead through lb.
    fn direct_packets(&self) -> Result<u64> {
        let mut cat = self.lab.client.command("cat");
        let devices = output(cat.arg("/proc/net/dev"))?;
        let line = devices.lines().find_map(|line| line.trim().strip_prefix("eth1:"));
        // Bytes, then packets.
        let packets = line.and_then(|line| line.split_whitespace().nth(1));
        packets.context("no eth1")?.parse().context("a count")
    }

    /// A body that only fits if the client learns how much less it may send.
    fn upload(&self, mtu: [&[&str]; 2]) -> Result<()> {
        const BYTES: usize = 1_000_000;
        let file = config::write(&self.lab, "body", &"x".repeat(BYTES))?;
        for (vip, mtus) in vips(servers::HTTP).into_iter().zip(mtu) {
            let data = format!("@{}", file.display());
            let url = format!("http://{vip}/mirror");
            let answer = curl(&self.lab.client, &["--data-binary", &data, &url])?;
            assert_eq!((answer.status, answer.body.len()), (200, BYTES), "{vip}");
            let learnt = self.lab.client.ip(&format!("route get {}", vip.ip()))?;
            ensure!(
                mtus.iter().any(|mtu| learnt.contains(&format!("mtu {mtu} "))),
                "{vip}: none of {mtus:?} in {learnt}"
            );
        }
        let status = self.daemon.status()?;
        assert!(status.dropped("too_big") > 0, "{status:?}");
        assert_eq!(status.dropped("merged"), 0);
        Ok(())
    }
}

#[test]
fn l2() -> Result<()> {
    let stage = Stage::up("l2", &[])?;
    stage.exercise()?;
    stage.upload([&["1400"]; 2])?;
    stage.bulk()?;
    stage.daemon.stop()
}

/// Over both families' tunnels: every server has an address of each, and each address is a server.
#[test]
fn ipip() -> Result<()> {
    let mut stage = Stage::up("ipip", &["--from", "172.16.0.0/16", "100::/64"])?;
    stage.exercise()?;
    stage.upload([&["1480", "1460"]; 2])?;
    stage.bulk()?;
    let counts = stage.backends.decaps.iter_mut().map(|decap| decap.count("ipip"));
    let counts: Vec<u64> = counts.collect::<Result<_>>()?;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    stage.backends.decaps.into_iter().try_for_each(Decap::stop)?;
    stage.daemon.stop()
}

#[test]
fn gue() -> Result<()> {
    let mut stage = Stage::up("gue", &["--from", "10.102.0.1", "fd65:2::1"])?;
    stage.exercise()?;
    stage.upload([&["1472", "1452"]; 2])?;
    stage.bulk()?;
    let counts = stage.backends.decaps.iter_mut().map(|decap| decap.count("gue"));
    let counts: Vec<u64> = counts.collect::<Result<_>>()?;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    stage.daemon.stop()
}

#[test]
fn tunnels_from_elsewhere_are_not_opened() -> Result<()> {
    let mut stage = Stage::up("ipip", &["--from", "192.0.2.0/24", "2001:db8::/32"])?;
    for vip in vips(servers::UDP) {
        stage.lab.client.within(|| {
            let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.send_to(b"let me in", vip)
        })??;
    }
    let mut unwelcome = 0;
    poll("both datagrams are refused", || {
        let counts = stage.backends.decaps.iter_mut().map(|decap| decap.count("unwelcome"));
        unwelcome = counts.sum::<Result<u64>>()?;
        Ok(unwelcome == 2)
    })
    .with_context(|| format!("{unwelcome} refused"))?;
    let opened: u64 =
        stage.backends.decaps.iter_mut().map(|decap| decap.count("ipip")).sum::<Result<u64>>()?;
    assert_eq!(opened, 0);
    stage.daemon.stop()
}

/// What each side takes the other to accept, as the kernels on both sides see it.
#[test]
fn segments_are_clamped_both_ways_by_nat() -> Result<()> {
    const LIMIT: u32 = 1200;
    /// Of the timestamps in each segment (RFC 7323).
    const TIMESTAMPS: u32 = 12;
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let service = config::steered("tcp", "tcp", 9000, &addresses);
    let daemon = Daemon::start(&lab, &format!("{service}mss_clamp = {LIMIT}\n"))?;
    for vip in vips(9000) {
        let stream = lab.client.within(|| std::net::TcpStream::connect(vip))??;
        let mss = getsockopt(&stream.as_fd(), sockopt::TcpMaxSeg)?;
        assert_eq!(mss, LIMIT - TIMESTAMPS, "the client's view of {vip}");
        let mut seen = String::new();
        for backend in &lab.backends {
            let mut ss = backend.netns.command("ss");
            ss.args(["-tinH", "state", "established", "sport", "=", ":7000"]);
            seen += &output(&mut ss)?;
        }
        let wanted = format!(" mss:{} ", LIMIT - TIMESTAMPS);
        ensure!(seen.contains(&wanted), "no{wanted}in {seen}");
        drop(stream);
    }
    daemon.stop()
}

/// A narrow way to the backends: the client is told by us, not by a router.
#[test]
fn a_service_s_mtu_is_kept_by_nat() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let addresses = servers::addresses(&lab, servers::HTTP);
    let service = config::steered("http", "tcp", 9000, &addresses);
    let daemon = Daemon::start(&lab, &format!("{service}mtu = 1350\n"))?;
    let body = "x".repeat(300_000);
    for vip in vips(9000) {
        let echoed = lab.client.within(|| {
            let mut stream = Stream::connect(vip)?;
            let length = body.len();
            stream.send(&format!(
                "POST /mirror HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            ))?;
            stream.rest()
        })??;
        ensure!(echoed.len() > body.len(), "{vip}: {} bytes came back", echoed.len());
        let learnt = lab.client.ip(&format!("route get {}", vip.ip()))?;
        ensure!(learnt.contains("mtu 1350 "), "{vip}: {learnt}");
    }
    assert!(daemon.status()?.dropped("too_big") >= 2);
    daemon.stop()
}

/// It would send their packets back, which are for lb.
#[test]
fn no_server_of_l2_is_behind_a_router() -> Result<()> {
    let lab = Lab::up()?;
    lab.lb.ip("route add 10.9.0.0/24 via 10.102.0.11")?;
    lab.lb.ip("-6 route add fd09::/64 via fd65:2::11")?;
    let far = ["10.9.0.1:9000".parse()?, "[fd09::1]:9000".parse()?];
    let daemon = Daemon::start(&lab, &direct::steered("l2", "far", "udp", &far))?;
    // Until the router's own address is known, that is what is missing.
    poll("datagrams of both families are refused", || {
        for vip in vips(9000) {
            lab.client.within(|| {
                let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.send_to(b"hello", vip)
            })??;
        }
        Ok(daemon.status()?.dropped("no_route") >= 4)
    })?;
    assert_eq!(daemon.status()?.verdicts.steer, 0);
    daemon.stop()
}

/// Whether the first backend is up in each service, for both of its addresses.
fn is_up(lab: &Lab, status: &Status) -> BTreeMap<String, bool> {
    let ours = lab.backends[0].addresses().map(|address| address.to_string());
    let mut states = BTreeMap::new();
    for service in &status.services {
        let is_ours = |address: &str| ours.iter().any(|it| address.contains(it));
        let mut backends = service.backends.iter().filter(|it| is_ours(&it.address));
        states.insert(service.name.clone(), backends.all(|it| it.up));
    }
    states
}

/// google/seesaw#25, facebookincubator/katran#132, iqiyi/dpvs#870: a server that answers at its own
/// address, and gets nothing of what clients send.
#[test]
fn a_server_that_packets_do_not_reach_is_down() -> Result<()> {
    const BY_HTTP: &str = "path = \"/healthz\"";
    let lab = Lab::up()?;
    let mut backends = Backends::up(
        &lab,
        "ipip",
        &["--from", "172.16.0.0/16", "100::/64", "10.102.0.1", "fd65:2::1"],
    )?;
    let service = |mode, name, protocol, port, check: &str| {
        let service = direct::steered(mode, name, protocol, &servers::addresses(&lab, port));
        let timing = "interval = \"200ms\", timeout = \"2s\"";
        format!("{service}load_balancer.health_check = {{ {timing}, {check} }}\n")
    };
    let by_http_elsewhere = format!("port = {}, {BY_HTTP}", servers::HTTP);
    let services = [
        service("l2", "l2", "tcp", servers::HTTP, BY_HTTP),
        service("ipip", "ipip", "tcp", servers::TCP, ""),
        service("gue", "gue", "udp", servers::UDP, &by_http_elsewhere),
        // At its own address, whatever becomes of clients' packets.
        service("ipip", "itself", "udp", servers::TCP, "port = 8080, direct = true"),
    ];
    let daemon = Daemon::start(&lab, &services.concat())?;
    let is = |[l2, ipip, gue]: [bool; 3]| {
        let states = [("l2", l2), ("ipip", ipip), ("gue", gue), ("itself", true)];
        let wanted = states.map(|(name, up)| (name.to_owned(), up)).into();
        let came = daemon.when(&format!("{states:?}"), |status| is_up(&lab, status) == wanted);
        came.with_context(|| daemon.log()).map(drop)
    };
    is([true; 3])?;
    // Nothing takes off the outer headers.
    backends.decaps.remove(0).stop()?;
    is([true, false, false])?;
    let log = daemon.log();
    assert!(log.contains("no answer within 2s by `gue`: the server needs the announced"), "{log}");
    let decap = ["--from", "172.16.0.0/16", "100::/64", "10.102.0.1", "fd65:2::1"];
    let _decap = Decap::start(&lab, &lab.backends[0], &decap)?;
    is([true; 3])?;
    // The server is asked by HTTP, and by the same way.
    let health = |status: u16| {
        let url = format!("http://127.0.0.1:{}/healthz/{status}", servers::HTTP);
        curl(&lab.backends[0].netns, &[&url]).map(drop)
    };
    health(503)?;
    is([false, true, false])?;
    assert!(daemon.log().contains("answered 503"), "{}", daemon.log());
    health(200)?;
    is([true; 3])?;
    // One of its two announced addresses is missing.
    let netns = &lab.backends[0].netns;
    netns.ip(&format!("addr del {VIP6}/128 dev lo"))?;
    is([false; 3])?;
    netns.ip(&format!("addr add {VIP6}/128 dev lo nodad"))?;
    is([true; 3])?;
    assert_eq!(daemon.status()?.undone("health_checks"), 0, "{}", daemon.log());
    daemon.stop()
}
