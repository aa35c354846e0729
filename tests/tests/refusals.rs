//! Why `lb run` does not start: each time in words that help, and without a trace on the host.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    actors::{client::tcp_echo, servers},
    daemon::{
        config::{self, steered},
        process::{Daemon, preamble, socket},
    },
    lab::{
        process::{Process, program},
        snapshot::{self, differences},
        topology::{INNER4, Lab, VIP4, VIP6, pins, vips},
    },
};

const PORT: u16 = 9000;
/// As which nothing is allowed.
const NOBODY: &str = "65534";

fn valid(lab: &Lab) -> String {
    let addresses = servers::addresses(lab, servers::TCP);
    format!("{}{}", preamble(lab), steered("tcp", "tcp", PORT, &addresses))
}

/// Runs a command that must fail with `code`; what it said. Everything must stay as it was.
fn refused(lab: &Lab, command: Command, code: i32) -> Result<String> {
    let before = snapshot::take(&lab.lb)?;
    let mut process = Process::start("lb", command, &lab.directory().join("refused.log"))?;
    let status = process.wait()?;
    let said = process.output();
    ensure!(status.code() == Some(code), "{status}: {said}");
    ensure!(!said.contains("panicked"), "{said}");
    let changes = differences(&before, &snapshot::take(&lab.lb)?);
    ensure!(changes.is_empty(), "it left\n{}", changes.join("\n"));
    Ok(said)
}

fn run(lab: &Lab, config: &Path) -> Result<Command> {
    let mut command = lab.lb.command(program("lb")?);
    command.args(["run", "--config"]).arg(config);
    Ok(command)
}

/// What `lb run` says of `config`.
fn complaint(lab: &Lab, config: &str, code: i32) -> Result<String> {
    let file = config::write(lab, "refused.toml", config)?;
    refused(lab, run(lab, &file)?, code)
}

/// What `lb run` says of a `config` that `lb check` refuses for the same reason.
fn complaint_of_both(lab: &Lab, config: &str) -> Result<String> {
    let said = complaint(lab, config, 1)?;
    let mut check = lab.lb.command(program("lb")?);
    check.arg("check").arg(lab.directory().join("refused.toml"));
    let checked = refused(lab, check, 1)?;
    let reason = said.lines().last().context("nothing was said")?;
    let reason = reason.trim_start_matches("error: ");
    ensure!(checked.contains(reason), "{reason:?} is not in: {checked}");
    Ok(said)
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn a_missing_interface() -> Result<()> {
    let lab = Lab::up()?;
    let absent = valid(&lab).replace("\"up0\", \"down0\"", "\"eth7\", \"wlan*\"");
    let said = complaint(&lab, &absent, 1)?;
    says(&said, &["error:", "`eth7`, `wlan*`", "this host has: ", "up0"]);
    assert!(!socket(&lab).exists());
    Ok(())
}

#[test]
fn source_ports_that_are_the_host_s_own() -> Result<()> {
    let lab = Lab::up()?;
    let range = lab.lb.sysctl("net/ipv4/ip_local_port_range")?;
    let range = range.split_whitespace().collect::<Vec<_>>().join("-");
    let node = "[node]\nsource_ports = \"20000-40000\"";
    let said = complaint_of_both(&lab, &valid(&lab).replace("[node]", node))?;
    says(&said, &["20000-40000", &range, "source_ports", "ip_local_port_range"]);
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_read() -> Result<()> {
    let lab = Lab::up()?;
    let said = refused(&lab, run(&lab, Path::new("/nowhere/lb.toml"))?, 2)?;
    says(&said, &["/nowhere/lb.toml", "No such file"]);
    let said = refused(&lab, run(&lab, lab.directory())?, 2)?;
    says(&said, &[&lab.directory().display().to_string()]);
    Ok(())
}

#[test]
fn a_configuration_with_mistakes() -> Result<()> {
    let lab = Lab::up()?;
    let wrong = valid(&lab) + "colour = \"red\"\nstrategy = 7\n";
    let said = complaint(&lab, &wrong, 1)?;
    says(&said, &["refused.toml:", "`colour`", "colour = \"red\"", "`strategy`", "2 mistakes"]);
    Ok(())
}

/// Each with its place in the file.
#[test]
fn services_that_claim_the_same() -> Result<()> {
    let lab = Lab::up()?;
    let service = |name: &str, address: &str, host: &str| {
        format!(
            "[[services]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nhostnames = [\"{host}\"]\n\
             ports = [{{ port = 80, handlers = [\"http\"] }}]\n\
             load_balancer.servers = [{{ address = \"10.102.0.11:80\" }}]\n\n"
        )
    };
    for address in ["203.0.113.10", "2001:db8::10"] {
        let services = service("one", address, "a.example") + &service("two", address, "A.example");
        let config = format!("{}\n{services}", preamble(&lab));
        let line = config.lines().position(|line| line.contains("A.example")).expect("a line") + 1;
        let said = complaint(&lab, &config, 1)?;
        says(&said, &[&format!("refused.toml:{line}:14"), "already belongs to service `one`"]);
        says(&said, &["1 mistake"]);
    }
    Ok(())
}

#[test]
fn a_socket_that_another_daemon_has() -> Result<()> {
    let lab = Lab::up()?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let daemon = Daemon::start(&lab, &steered("tcp", "tcp", PORT, &addresses))?;
    let said = complaint(&lab, &valid(&lab), 1)?;
    let socket = socket(&lab).display().to_string();
    says(&said, &["another lb is running", &socket, "[admin] listen"]);
    daemon.status()?;
    daemon.stop()
}

#[test]
fn a_socket_that_somebody_else_has() -> Result<()> {
    let lab = Lab::up()?;
    let path = socket(&lab);
    let listener = UnixListener::bind(&path)?;
    let said = complaint(&lab, &valid(&lab), 1)?;
    says(&said, &[&path.display().to_string(), "[admin] listen"]);
    assert!(path.exists(), "somebody else's socket was removed");
    drop(listener);

    fs::remove_file(&path)?;
    fs::write(&path, "precious")?;
    let said = complaint_of_both(&lab, &valid(&lab))?;
    says(&said, &[&path.display().to_string(), "is not a socket"]);
    assert_eq!(fs::read_to_string(&path)?, "precious");
    Ok(())
}

#[test]
fn a_namespace_that_another_daemon_has() -> Result<()> {
    let lab = Lab::up()?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let narrow = preamble(&lab).replace(", \"down0\"", "");
    let file =
        config::write(&lab, "narrow.toml", &(narrow + &steered("tcp", "tcp", PORT, &addresses)))?;
    let daemon = Daemon::run(&lab, &file)?;
    // Neither interface nor socket nor state in common; its routes would be taken for leftovers.
    let other = valid(&lab).replace("\"up0\", ", "");
    let other = other.replace("admin.sock", "other.sock").replace("/state\"", "/other\"");
    let other = other.replace("/sys/fs/bpf/lb-", "/sys/fs/bpf/lb-0-");
    let said = complaint(&lab, &other, 1)?;
    says(&said, &["another lb is running in this network namespace"]);
    daemon.status()?;
    daemon.stop()
}

#[test]
fn a_data_path_that_another_daemon_has() -> Result<()> {
    let lab = Lab::up()?;
    let addresses = servers::addresses(&lab, servers::TCP);
    let daemon = Daemon::start(&lab, &steered("tcp", "tcp", PORT, &addresses))?;
    let other = valid(&lab).replace("admin.sock", "other.sock").replace("/state\"", "/other\"");
    let said = complaint(&lab, &other, 1)?;
    says(&said, &["another lb is running", &pins(lab.tag()).display().to_string(), "`pin_dir`"]);
    daemon.status()?;
    daemon.stop()
}

#[test]
fn a_data_path_of_another_namespace() -> Result<()> {
    let (lab, elsewhere) = (Lab::up()?, Lab::up()?);
    let addresses = servers::addresses(&lab, servers::TCP);
    Daemon::start(&lab, &steered("tcp", "tcp", PORT, &addresses))?.stop()?;
    let (theirs, ours) = (pins(lab.tag()), pins(elsewhere.tag()));
    let [theirs, ours] = [theirs, ours].map(|path| path.display().to_string());
    let said = complaint(&elsewhere, &valid(&elsewhere).replace(&ours, &theirs), 1)?;
    says(&said, &["another network namespace", &theirs]);
    Ok(())
}

#[test]
fn a_pin_dir_on_no_bpffs() -> Result<()> {
    let lab = Lab::up()?;
    let ours = pins(lab.tag()).display().to_string();
    let said = complaint_of_both(&lab, &valid(&lab).replace(&ours, "/tmp/lb"))?;
    says(&said, &["/tmp/lb is not on a bpffs", "mount -t bpf"]);
    Ok(())
}

#[test]
fn no_privilege() -> Result<()> {
    let lab = Lab::up()?;
    let file = config::write(&lab, "valid.toml", &valid(&lab))?;
    // Where nobody can reach it, wherever the workspace lies.
    let lb: PathBuf = lab.directory().join("lb");
    fs::copy(program("lb")?, &lb)?;
    fs::set_permissions(&lb, fs::Permissions::from_mode(0o755))?;
    let user = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    for drop in [&user[..], &["--bounding-set=-all"], &["--bounding-set=-net_admin"]] {
        let mut command = lab.lb.command("setpriv");
        command.args(drop).arg(&lb).args(["run", "--config"]).arg(&file);
        let said = refused(&lab, command, 1)?;
        says(&said, &["needs root", "CAP_NET_ADMIN", "sudo lb run"]);
    }
    Ok(())
}

#[test]
fn a_server_that_is_this_host_or_nowhere() -> Result<()> {
    let lab = Lab::up()?;
    let own = ["10.102.0.1:7000".parse()?, "[2001:db8:ffff::1]:7000".parse()?];
    let daemon = Daemon::start(&lab, &steered("tcp", "tcp", PORT, &own))?;
    let said = daemon.log();
    says(&said, &["10.102.0.1", "an address of this host itself"]);
    says(&said, &["2001:db8:ffff::1", "no route"]);
    daemon.stop()
}

#[test]
fn an_announced_address_that_the_host_cannot_do_without() -> Result<()> {
    let lab = Lab::up()?;
    let steered = valid(&lab);
    let proxied = steered.replace("port = 9000", "port = 9000, handlers = [\"http\"]");
    for config in [&steered, &proxied] {
        let inner = config.replace(&VIP4.to_string(), &INNER4.to_string());
        let said = complaint_of_both(&lab, &inner)?;
        says(
            &said,
            &["10.102.0.1 is this host's source address", "`ip route get 10.102.0.1", "dropped"],
        );
        let outer = config.replace(&VIP6.to_string(), "fd65:1::1");
        let said = complaint_of_both(&lab, &outer)?;
        says(&said, &["fd65:1::1 is this host's own on up0", "ssh", "fd65:1::1/128 dev up0"]);
    }
    Ok(())
}

#[test]
fn an_announced_address_that_an_interface_has_as_well() -> Result<()> {
    let lab = Lab::up()?;
    let _servers = servers::start_all(&lab)?;
    lab.lb.ip(&format!("addr add {VIP4}/32 dev up0"))?;
    lab.lb.ip(&format!("addr add {VIP6}/128 dev lo"))?;
    let daemon = Daemon::run(&lab, &config::write(&lab, "lb.toml", &valid(&lab))?)?;
    let said = daemon.log();
    let line = |address: &str| said.lines().find(|line| line.contains(address)).unwrap_or("");
    says(line(&VIP4.to_string()), &["WARN", "on up0 as well", "neither ssh"]);
    says(line(&VIP6.to_string()), &["INFO", "on lo as well"]);
    for vip in vips(PORT) {
        lab.client.within(|| tcp_echo(vip, "hello"))??;
    }
    daemon.stop()
}

#[test]
fn nobody_there_to_ask() -> Result<()> {
    let lab = Lab::up()?;
    let mut command = lab.lb.command(program("lb")?);
    command.args(["status", "--socket"]).arg(socket(&lab));
    let said = refused(&lab, command, 1)?;
    says(&said, &[&socket(&lab).display().to_string(), "no lb is running"]);
    let mut command = lab.lb.command(program("lb")?);
    command.args(["run", "--config", "x", &VIP4.to_string()]);
    says(&refused(&lab, command, 2)?, &["unexpected argument", "Usage"]);
    Ok(())
}
