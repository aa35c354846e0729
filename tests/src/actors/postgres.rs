//! A real PostgreSQL on each backend, and psql.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{
    process::{Process, output, poll},
    topology::{Backend, Lab},
};

/// Where the servers listen, without TLS.
pub const PORT: u16 = 5432;
pub const USER: &str = "lb";
pub const PASSWORD: &str = "correct horse";

/// Starts a server on each backend.
pub fn start_all(lab: &Lab) -> Result<Vec<Process>> {
    let home = lab.directory().join("postgres");
    fs::create_dir_all(&home)?;
    let (user, group) = (id("-u")?, id("-g")?);
    chown(&home, Some(user), Some(group))?;
    let template = home.join("template");
    initialise(&template, &home)?;
    lab.backends.iter().map(|backend| start(lab, backend, &home, &template)).collect()
}

/// A numeric id of the user that Debian's package brings: PostgreSQL refuses to run as root.
fn id(which: &str) -> Result<u32> {
    let id = output(Command::new("id").args([which, "postgres"]));
    Ok(id.context("is PostgreSQL installed?")?.trim().parse()?)
}

fn initialise(directory: &Path, home: &Path) -> Result<()> {
    let password = home.join("password");
    fs::write(&password, PASSWORD)?;
    let mut initdb = as_postgres(Command::new("setpriv"))?;
    initdb.arg(binary("initdb")?).args([
        "--username",
        USER,
        "--auth",
        "scram-sha-256",
        "--no-sync",
    ]);
    initdb.arg("--pwfile").arg(password).arg("--pgdata").arg(directory);
    output(&mut initdb)?;
    let anybody = "host all all all scram-sha-256\n";
    fs::write(directory.join("pg_hba.conf"), anybody)?;
    Ok(())
}

fn start(lab: &Lab, backend: &Backend, home: &Path, template: &Path) -> Result<Process> {
    let data = home.join(&backend.name);
    output(Command::new("cp").arg("--archive").arg(template).arg(&data))?;
    let mut command = as_postgres(backend.netns.command("setpriv"))?;
    command.arg(binary("postgres")?).arg("-D").arg(&data);
    for setting in ["listen_addresses=*", "unix_socket_directories=", "fsync=off"] {
        command.args(["-c", setting]);
    }
    let log = lab.directory().join(format!("postgres-{}.log", backend.name));
    let mut process = Process::start("postgres", command, &log)?;
    poll(&format!("PostgreSQL of {} takes connections", backend.name), || {
        process.check()?;
        let listens = backend.netns.within(|| TcpStream::connect(("127.0.0.1", PORT)).is_ok())?;
        Ok(listens && process.output().contains("ready to accept connections"))
    })?;
    Ok(process)
}

fn as_postgres(mut setpriv: Command) -> Result<Command> {
    let (user, group) = (id("-u")?.to_string(), id("-g")?.to_string());
    setpriv.args(["--reuid", &user, "--regid", &group, "--clear-groups"]);
    Ok(setpriv)
}

/// Of the newest version that Debian's packages installed; they are not in the path.
fn binary(name: &str) -> Result<PathBuf> {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .context("no PostgreSQL: `cargo xtask setup` installs it")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().with_context(|| format!("no `{name}` in /usr/lib/postgresql"))
}

/// What the client connects with: libpq's words for `to`, under the name `host`.
#[must_use]
pub fn conninfo(to: SocketAddr, host: &str, more: &str) -> String {
    let (address, port) = (to.ip(), to.port());
    format!(
        "host={host} hostaddr={address} port={port} user={USER} password='{PASSWORD}' \
         dbname=postgres connect_timeout=60 {more}"
    )
}

/// psql in the client's namespace with one query.
#[must_use]
pub fn psql(lab: &Lab, conninfo: &str, query: &str) -> Command {
    let mut psql = lab.client.command("psql");
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", query, conninfo]);
    psql
}

/// What a backend's own server answers, asked beside the balancer.
pub fn ask(backend: &Backend, query: &str) -> Result<String> {
    let to = SocketAddr::new([127, 0, 0, 1].into(), PORT);
    let mut psql = backend.netns.command("psql");
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", query]);
    let answer = psql.arg(conninfo(to, "localhost", "sslmode=disable")).output()?;
    let error = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "psql at {}: {error}", backend.name);
    Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
}
