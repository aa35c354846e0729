//! Steered flows go to the nearest region that has room.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::process,
    lab::{
        process::{PATIENCE, output, poll, program},
        stage::Stage,
        topology::{CLIENT4, CLIENT6, Lab, VIP4, VIP6, vips},
    },
};

const PORT: u16 = 7000;
const SOFT: usize = 1;
const HARD: usize = 2;
/// Of b1, b2 and b3: `fra` is the daemon's, `ams` is nearby.
const REGIONS: [&str; 3] = ["sjc", "fra", "ams"];

fn services(lab: &Lab) -> Result<String> {
    let addresses = servers::addresses(lab, servers::TCP);
    let server = |(at, address): (usize, &SocketAddr)| {
        format!("{{ address = \"{address}\", region = \"{}\" }}", REGIONS[at % 3])
    };
    // Both families of each backend, in the backends' order.
    ensure!(addresses[0].is_ipv4() && addresses[3].is_ipv6(), "{addresses:?}");
    let servers: Vec<_> = addresses.iter().enumerate().map(server).collect();
    Ok(format!(
        r#"
[[services]]
name = "raw"
addresses = ["{VIP4}", "{VIP6}"]
concurrency = {{ soft_limit = {SOFT}, hard_limit = {HARD} }}
ports = [{{ port = {PORT} }}]
load_balancer.servers = [{}]
load_balancer.health_check = {{ interval = "200ms", timeout = "1s" }}
"#,
        servers.join(", ")
    ))
}

fn talk(stage: &Stage, to: SocketAddr) -> Result<Talk> {
    Talk::open(&stage.lab.client, to)
}

fn explain(stage: &Stage, to: SocketAddr) -> Result<String> {
    let from = if to.is_ipv4() { format!("{CLIENT4}:4000") } else { format!("[{CLIENT6}]:4000") };
    let mut command = Command::new(program("lb")?);
    command.arg("explain").args(["--from", &from, "--to", &to.to_string()]);
    output(command.arg("--socket").arg(process::socket(&stage.lab)))
}

/// Fills one region after the other, then empties them from the nearest on.
#[test]
fn a_full_region_spills_to_the_next_and_no_farther() -> Result<()> {
    let stage = Stage::up_with("nearby = [\"ams\"]\n", services)?;
    for to in vips(PORT) {
        let mut talks = Vec::new();
        for (backend, told) in [
            ("b2", "of the ring"),
            ("b3", "new, in the next region: the nearest has no room"),
            ("b1", "new, in a farther region: the 2 nearest have no room"),
        ] {
            for _ in 0..HARD {
                let explained = explain(&stage, to)?;
                // Above the soft limit the only member of a region is found by comparing.
                let near = backend == "b2" && explained.contains("new, by comparing loads");
                ensure!(near || explained.contains(told), "{backend} {to}: {explained}");
                let talk = talk(&stage, to)?;
                assert_eq!(talk.server, backend, "{to}, {} are held", talks.len());
                talks.push(talk);
            }
        }
        let refused = stage.lab.client.within(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let error = refused.err().context("all regions are full")?;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
        ensure!(explain(&stage, to)?.contains("backends_full"), "{to}");

        drop(talks.remove(0));
        poll("the nearest has room again", || Ok(explain(&stage, to)?.contains("comparing")))?;
        let back = talk(&stage, to)?;
        assert_eq!(back.server, "b2", "{to}");
        drop((back, talks));
        stage.daemon.when_quiet()?;
    }
    stage.stop()
}

/// Where the nearest is down, the next one is first, and spills as the nearest would.
#[test]
fn a_region_that_is_down_is_passed_over() -> Result<()> {
    let stage = Stage::up_with("nearby = [\"ams\"]\n", services)?;
    stage.lab.backends[1].netns.ip("link set eth0 down")?;
    stage.daemon.when("fra is down", |status| {
        let down = status.service("raw").map(|raw| raw.backends.iter().filter(|it| !it.up));
        down.is_some_and(|down| down.count() == 2)
    })?;
    for to in vips(PORT) {
        let talks = (0..2 * HARD).map(|_| talk(&stage, to)).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = talks.iter().map(|talk| &*talk.server).collect();
        assert_eq!(names, ["b3", "b3", "b1", "b1"], "{to}");
        drop(talks);
        stage.daemon.when_quiet()?;
    }
    stage.stop()
}
