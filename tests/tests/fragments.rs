//! Datagrams that are larger than a frame, and port ranges, end to end.

use anyhow::{Context as _, Result};
use lb_tests::{
    actors::{
        client::{curl, tcp_echo, udp_echo},
        servers,
    },
    daemon::{
        config::{service, steered},
        process::Daemon,
    },
    lab::topology::{Lab, vips},
};

const PORT: u16 = 9000;

#[test]
fn large_datagrams_arrive_both_ways() -> Result<()> {
    const SIZES: [usize; 4] = [1473, 4096, 16_000, 60_000];
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("echo", "udp", PORT, &servers::addresses(&lab, servers::UDP));
    let daemon = Daemon::start_with(&lab, "flow_timeouts.udp = \"1s\"", &services)?;
    // Kept, or one gets the port of another, and its flow.
    let mut sockets = Vec::new();
    for vip in vips(PORT) {
        for size in SIZES {
            // Another letter everywhere: pieces of one that went elsewhere would show.
            let text: String = (b'a'..=b'z').cycle().take(size).map(char::from).collect();
            for _ in 0..5 {
                let (name, socket) = lab.client.within(|| udp_echo(vip, &text))??;
                assert!(["b1", "b2", "b3"].contains(&name.as_str()), "{name}");
                sockets.push(socket);
            }
        }
    }
    let status = daemon.when_quiet()?;
    let flows = status.service("echo").context("no service")?.connections();
    assert_eq!(flows, 2 * 4 * 5, "one for each socket, none for its fragments");
    assert!(status.verdicts.steer > 1000, "{:?}", status.verdicts);
    for reason in ["fragment", "fragment_early", "fragment_tiny", "fragment_overlap"] {
        assert_eq!(status.dropped(reason), 0, "{reason}");
    }
    daemon.stop()
}

#[test]
fn a_range_of_ports_is_one_entry_for_the_reader_and_every_port_for_clients() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let range = "start_port = 3000, end_port = 4999";
    let steered = service("steered", "tcp", range, &servers::addresses(&lab, servers::TCP));
    let range = "start_port = 8000, end_port = 8999, handlers = [\"http\"]";
    let proxied = service("proxied", "tcp", range, &servers::addresses(&lab, servers::HTTP));
    let daemon = Daemon::start(&lab, &format!("{steered}\n{proxied}"))?;
    let shown: Vec<_> = daemon.status()?.services.into_iter().flat_map(|it| it.ports).collect();
    assert_eq!(shown, ["3000-4999", "8000-8999"]);
    for port in [3000, 3001, 4095, 4096, 4999] {
        for vip in vips(port) {
            lab.client.within(|| tcp_echo(vip, "line"))??;
        }
    }
    for port in [8000, 8080, 8999] {
        for vip in vips(port) {
            assert_eq!(curl(&lab.client, &[&format!("http://{vip}/")])?.status, 200);
        }
    }
    let before = daemon.status()?.dropped("undeclared_port");
    for port in [2999, 5000, 7999, 9000] {
        let refused = lab.client.within(|| {
            use std::{net::TcpStream, time::Duration};
            TcpStream::connect_timeout(&vips(port)[0], Duration::from_millis(300)).is_err()
        })?;
        assert!(refused, "{port}");
    }
    assert!(daemon.status()?.dropped("undeclared_port") >= before + 4);
    daemon.stop()
}
