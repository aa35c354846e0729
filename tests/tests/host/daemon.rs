//! A daemon whose work somebody else undoes while it runs.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{
        client::{curl, tcp_echo},
        servers,
        talk::Talk,
    },
    daemon::{
        config::{service, steered},
        process::Daemon,
    },
    kernel::pinned,
    lab::{
        process::{poll, program},
        topology::{CLIENT4, Lab, VIP4, VIP6, pins, vips},
    },
};

const PORT: u16 = 9000;

fn serves(lab: &Lab) -> Result<()> {
    for vip in vips(PORT) {
        lab.client.within(|| tcp_echo(vip, "hello"))?.with_context(|| format!("{vip}"))?;
    }
    Ok(())
}

/// systemd-networkd removes routes that it does not know (cilium/cilium#18706), `sysctl --system`
/// turns forwarding off (cilium/cilium#10645), a client has another MAC address
/// (cilium/cilium#34503).
#[test]
fn what_others_undo_is_put_right_told_and_counted() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
    let daemon = Daemon::start(&lab, &services)?;
    serves(&lab)?;

    let is_local = |vip: &str| {
        let family = if vip.contains(':') { "-6" } else { "-4" };
        Ok(lab.lb.ip(&format!("{family} route show table local proto 76"))?.contains(vip))
    };
    for vip in [VIP4.to_string(), VIP6.to_string()] {
        lab.lb.ip(&format!("route del local {vip} table local"))?;
        poll("the route is back", || is_local(&vip))?;
    }
    // Whoever goes on is answered, and told of once more.
    let vip = VIP4.to_string();
    for _ in 0..3 {
        lab.lb.ip(&format!("route del local {vip} table local"))?;
        poll("the route is back", || is_local(&vip))?;
    }
    daemon.when("5 routes are counted", |status| status.repaired("local_route") == 5)?;
    let log = daemon.log();
    let said = log.lines().filter(|line| line.contains(&vip) && line.contains("local route"));
    ensure!(said.count() == 2, "{log}");

    let forwards = |key: &str| lab.lb.sysctl(key);
    for (all, one) in [
        ("net/ipv4/ip_forward", "net/ipv4/conf/up0/forwarding"),
        ("net/ipv6/conf/all/forwarding", "net/ipv6/conf/up0/forwarding"),
    ] {
        lab.lb.set_sysctl(all, "1")?;
        lab.lb.set_sysctl(all, "0")?;
        poll("it forwards again", || Ok(forwards(one)? == "1"))?;
    }
    daemon.when("settings are counted", |status| status.repaired("setting") == 4)?;

    // The client asks nobody, and so nobody learns from it.
    let link = lab.lb.ip("-br link show up0")?;
    let ours = link.split_whitespace().nth(2).context("a MAC address")?;
    lab.client.ip(&format!("neigh replace 10.101.0.1 lladdr {ours} dev eth0 nud permanent"))?;
    let link = lab.client.ip("-br link show eth0")?;
    let right = link.split_whitespace().nth(2).context("a MAC address")?;
    let wrong = "lladdr 02:de:ad:be:ef:01 dev up0 nud stale";
    lab.lb.ip(&format!("neigh replace {CLIENT4} {wrong}"))?;
    poll("the client is found", || {
        Ok(lab.lb.ip(&format!("neigh show {CLIENT4} dev up0"))?.contains(right))
    })?;

    serves(&lab)?;
    daemon.stop()
}

/// Names in the bpffs that somebody removes, programs that somebody takes off.
#[test]
fn a_data_path_that_is_taken_down_stands_again_and_outlives_the_daemon() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP))
        + &service(
            "web",
            "tcp",
            "port = 80, handlers = [\"http\"]",
            &servers::addresses(&lab, servers::HTTP),
        );
    let daemon = Daemon::start(&lab, &services)?;
    serves(&lab)?;
    let pins = pins(lab.tag());
    let links = pins.join("links");
    let listed = || -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        for directory in fs::read_dir(&pins)?.chain(fs::read_dir(&links)?) {
            let directory = directory?.path();
            found.insert(directory.clone());
            if directory.is_dir() {
                found.extend(fs::read_dir(directory)?.flatten().map(|it| it.path()));
            }
        }
        Ok(found)
    };
    let before = listed()?;
    let mut talk = Talk::open(&lab.client, vips(PORT)[0])?;

    for link in fs::read_dir(&links)?.flatten() {
        pinned::detach(&link.path())?;
    }
    daemon.when("what was taken off stands again", |status| {
        status.repaired("program") == 2 && status.repaired("listeners") == 1
    })?;
    talk.echo()?;
    serves(&lab)?;
    curl(&lab.client, &[&format!("http://{VIP4}/")])?;

    fs::remove_dir_all(&pins)?;
    poll("the names are back", || Ok(listed().is_ok_and(|names| names == before)))?;
    let status = daemon.status()?;
    ensure!(status.repaired("pin") as usize >= before.len() - 2, "{status:?}");
    fs::remove_file(links.join("sk-lookup"))?;
    daemon.stop()?;
    ensure!(listed()? == before, "put back at the last moment");

    talk.echo()?;
    let daemon = Daemon::start(&lab, &services)?;
    ensure!(daemon.log().contains("taking over the data path"), "{}", daemon.log());
    talk.echo()?;
    daemon.stop()
}

/// An announced address in a link's network that nobody answers for: `lb check` and the log say
/// what to do, and hosts there find it where the configuration wants that.
#[test]
fn an_address_in_a_link_s_network_is_told_of_and_answered_for_on_demand() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let vips = ["10.101.0.100", "fd65:1::100"];
    let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
    let services = services.replace(&VIP4.to_string(), vips[0]);
    let services = services.replace(&VIP6.to_string(), vips[1]);
    let told = |text: &str| {
        vips.iter().all(|vip| {
            let place = format!("{vip} lies in the network of up0");
            text.contains(&place) && text.contains("answer_neighbours = \"always\"")
        })
    };
    let daemon = Daemon::start(&lab, &services)?;
    ensure!(told(&daemon.log().replace("\\\"", "\"")), "{}", daemon.log());
    let mut check = lab.lb.command(program("lb")?);
    let checked = check.arg("check").arg(lab.directory().join("lb.toml")).output()?;
    ensure!(checked.status.success(), "{checked:?}");
    ensure!(told(&String::from_utf8_lossy(&checked.stderr)), "{checked:?}");
    let echo =
        |vip: &str| lab.client.within(|| tcp_echo((vip.parse::<IpAddr>()?, PORT).into(), "hello"));
    for vip in vips {
        ensure!(echo(vip)?.is_err(), "nobody answers for {vip}");
    }
    daemon.stop()?;
    let daemon = Daemon::start_with(&lab, "answer_neighbours = \"always\"", &services)?;
    ensure!(!told(&daemon.log()), "{}", daemon.log());
    for vip in vips {
        echo(vip)?.with_context(|| vip.to_owned())?;
    }
    daemon.stop()?;

    // The host is stricter than that.
    let all = "net/ipv4/conf/all/arp_ignore";
    let told = |text: &str| text.contains(vips[0]) && text.contains("`arp_ignore` is 1");
    lab.lb.set_sysctl(all, "1")?;
    let mut check = lab.lb.command(program("lb")?);
    let checked = check.arg("check").arg(lab.directory().join("lb.toml")).output()?;
    ensure!(told(&String::from_utf8_lossy(&checked.stderr)), "{checked:?}");
    let daemon = Daemon::start_with(&lab, "answer_neighbours = \"always\"", &services)?;
    ensure!(told(&daemon.log()), "{}", daemon.log());
    daemon.stop()?;
    lab.lb.set_sysctl(all, "0")
}

/// The kernel answers while an interface has the address, unless the questions do not get there;
/// also those of who has the answer already, and asks by unicast whether it is still so.
#[test]
fn an_address_of_an_interface_is_answered_for_unless_never() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    let vips = ["10.101.0.100", "fd65:1::100"];
    let services = steered("tcp", "tcp", PORT, &servers::addresses(&lab, servers::TCP));
    let services = services.replace(&VIP4.to_string(), vips[0]);
    let services = services.replace(&VIP6.to_string(), vips[1]);
    for (vip, length) in vips.iter().zip([32, 128]) {
        lab.lb.ip(&format!("address add {vip}/{length} dev up0 nodad"))?;
    }
    let found = |vip: &str| {
        let shown = lab.client.ip(&format!("neigh show {vip} dev eth0"))?;
        anyhow::Ok(shown.contains("REACHABLE"))
    };
    let ask = |vip: &str| {
        lab.client.within(|| tcp_echo((vip.parse::<IpAddr>()?, PORT).into(), "hello").map(drop))
    };
    let daemon = Daemon::start(&lab, &services)?;
    for vip in vips {
        ask(vip)?.with_context(|| vip.to_owned())?;
        // Stale entries are confirmed by unicast, after five seconds.
        let entry = lab.client.ip(&format!("neigh show {vip} dev eth0"))?;
        let mac = entry.split_whitespace().nth(2).context("a MAC address")?;
        let probe = format!("neigh replace {vip} lladdr {mac} dev eth0 nud probe");
        lab.client.ip(&probe)?;
        poll("its owner answers for it", || found(vip))?;
    }
    ensure!(daemon.status()?.dropped("not_answered") == 0);
    daemon.stop()?;

    let daemon = Daemon::start_with(&lab, "answer_neighbours = \"never\"", &services)?;
    for vip in vips {
        let entry = lab.client.ip(&format!("neigh show {vip} dev eth0"))?;
        let mac = entry.split_whitespace().nth(2).context("a MAC address")?;
        let probe = format!("neigh replace {vip} lladdr {mac} dev eth0 nud probe");
        lab.client.ip(&probe)?;
        poll("nobody answers for it", || {
            let shown = lab.client.ip(&format!("neigh show {vip} dev eth0"))?;
            Ok(shown.contains("FAILED"))
        })?;
        ensure!(ask(vip)?.is_err(), "nobody answers for {vip}");
    }
    ensure!(daemon.status()?.dropped("not_answered") >= 4);
    daemon.stop()
}
