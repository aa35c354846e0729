//! The real `lb`, running in the lab's lb namespace.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::status::Status;
use crate::lab::{
    process::{Process, output, poll, program},
    topology::{INTERFACES, Lab, pins},
};

/// A running daemon. SIGTERM ends it when dropped.
pub struct Daemon {
    process: Process,
    socket: PathBuf,
    /// The process that has taken the first one's place.
    successor: Option<Pid>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            let _ = kill(successor, Signal::SIGTERM);
            if poll("the successor has ended", || Ok(!is_alive(successor))).is_err() {
                let _ = kill(successor, Signal::SIGKILL);
            }
        }
    }
}

/// Returns whether a process runs. One that only waits to be reaped does not.
fn is_alive(id: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{id}/stat"));
    state.is_ok_and(|text| !text.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

impl Daemon {
    /// Starts `lb run` with `services` (TOML) below the lab's `[node]` and `[admin]` and waits
    /// until it answers.
    pub fn start(lab: &Lab, services: &str) -> Result<Self> {
        Self::start_with(lab, "", services)
    }

    /// The same with more lines in `[node]`.
    pub fn start_with(lab: &Lab, node: &str, services: &str) -> Result<Self> {
        let config = lab.directory().join("lb.toml");
        fs::write(&config, format!("{}\n{services}", preamble_with(lab, node)))?;
        Self::run(lab, &config)
    }

    /// The same with a whole configuration of the caller's; its `[admin]` must be [`socket`].
    pub fn run(lab: &Lab, config: &Path) -> Result<Self> {
        Self::run_as(&program("lb")?, lab, config)
    }

    /// The same with another build of it.
    pub fn run_as(program: &Path, lab: &Lab, config: &Path) -> Result<Self> {
        Self::run_command(lab.lb.command(program), lab, config)
    }

    /// The same with at most `limit` open files.
    pub fn run_short_of_files(lab: &Lab, config: &Path, limit: u32) -> Result<Self> {
        let mut command = lab.lb.command("prlimit");
        command.arg(format!("--nofile={limit}:{limit}")).arg(program("lb")?);
        Self::run_command(command, lab, config)
    }

    /// The same with more flags of `lb run`.
    pub fn run_with(lab: &Lab, config: &Path, flags: &[&str]) -> Result<Self> {
        let mut command = lab.lb.command(program("lb")?);
        command.arg("run").args(flags).arg("--config").arg(config);
        Self::run_prepared(command, lab)
    }

    fn run_command(mut command: Command, lab: &Lab, config: &Path) -> Result<Self> {
        command.arg("run").arg("--config").arg(config);
        Self::run_prepared(command, lab)
    }

    /// The same with a whole command of the caller's.
    pub fn run_prepared(command: Command, lab: &Lab) -> Result<Self> {
        let log = lab.directory().join("lb.log");
        let mut daemon = Self {
            process: Process::start("lb", command, &log)?,
            socket: socket(lab),
            successor: None,
        };
        poll("lb is ready", || {
            daemon.process.check()?;
            Ok(daemon.socket.exists() && daemon.status().is_ok())
        })
        .with_context(|| daemon.log())?;
        Ok(daemon)
    }

    /// What `lb status --json` says.
    pub fn status(&self) -> Result<Status> {
        status(&self.socket)
    }

    /// The same as it was printed.
    pub fn printed_status(&self) -> Result<String> {
        printed_status(&self.socket)
    }

    /// The state once no connection is live any more.
    pub fn when_quiet(&self) -> Result<Status> {
        self.when("every live count is back at 0", |status| status.live() == 0)
    }

    /// The first state that `is` true of; `what` that is.
    pub fn when(&self, what: &str, mut is: impl FnMut(&Status) -> bool) -> Result<Status> {
        let mut status = self.status()?;
        let came = poll(what, || {
            status = self.status()?;
            Ok(is(&status))
        });
        came.with_context(|| format!("{status:?}")).map(|()| status)
    }

    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.successor.map_or_else(|| self.process.id(), |id| id.as_raw().cast_unsigned())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.successor {
            Some(successor) => Ok(kill(successor, signal)?),
            None => self.process.signal(signal),
        }
    }

    /// What `lb upgrade` with `flags` says, and whether it succeeds. This is the new process then.
    pub fn upgrade(&mut self, flags: &[&str]) -> Result<(bool, String)> {
        let mut lb = Command::new(program("lb")?);
        lb.args(["upgrade", "--socket"]).arg(&self.socket).args(flags);
        let out = lb.output()?;
        let text = [out.stdout, out.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if out.status.success() {
            let id = text.split_whitespace().nth(1).context("no process")?.parse()?;
            self.successor = Some(Pid::from_raw(id));
        }
        Ok((out.status.success(), text))
    }

    /// Another process has taken its place.
    pub fn is_now(&mut self, id: i32) {
        self.successor = Some(Pid::from_raw(id));
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let id = Pid::from_raw(self.id().cast_signed());
        poll("the process has ended", || Ok(!is_alive(id)))
    }

    /// The process that was started first.
    pub fn first(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for the end that a signal brings.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.process.wait()
    }

    /// Sends SIGTERM, waits for the end and insists on success.
    pub fn stop(mut self) -> Result<()> {
        if let Some(successor) = self.successor {
            kill(successor, Signal::SIGTERM)?;
            poll("the successor has ended", || Ok(!is_alive(successor)))?;
            self.successor = None;
            return Ok(());
        }
        let status = self.process.stop()?;
        ensure!(status.success(), "lb ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Lets it outlive us.
    pub fn keep(&mut self) {
        self.process.keep();
    }
}

/// Asks the daemon behind `socket`.
pub fn status(socket: &Path) -> Result<Status> {
    let text = printed_status(socket)?;
    serde_json::from_str(&text).with_context(|| format!("`lb status --json` printed {text}"))
}

fn printed_status(socket: &Path) -> Result<String> {
    let mut lb = Command::new(program("lb")?);
    output(lb.args(["status", "--json", "--socket"]).arg(socket))
}

/// What `lb detach` says, with the configuration of the lab's last daemon.
pub fn detach(lab: &Lab) -> Result<String> {
    let mut lb = lab.lb.command(program("lb")?);
    lb.args(["detach", "--config"]).arg(lab.directory().join("lb.toml"));
    output(&mut lb)
}

/// What `lb drain` of a service's server says, and whether it succeeds.
pub fn drain(
    lab: &Lab,
    service: &str,
    server: SocketAddr,
    flags: &[&str],
) -> Result<(bool, String)> {
    let mut lb = Command::new(program("lb")?);
    lb.args(["drain", service, &server.to_string(), "--config"]);
    let out = lb.arg(lab.directory().join("lb.toml")).args(flags).output()?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// What `lb reload` with `flags` says, and whether it succeeds.
pub fn reload(lab: &Lab, flags: &[&str]) -> Result<(bool, String)> {
    let mut lb = Command::new(program("lb")?);
    lb.args(["reload", "--config"]).arg(lab.directory().join("lb.toml")).args(flags);
    let out = lb.output()?;
    let text = [out.stdout, out.stderr].concat();
    Ok((out.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// The door of the lab's daemon.
#[must_use]
pub fn socket(lab: &Lab) -> PathBuf {
    lab.directory().join("admin.sock")
}

/// `[node]` and `[admin]` for this lab.
#[must_use]
pub fn preamble(lab: &Lab) -> String {
    preamble_with(lab, "")
}

/// The same with more lines in `[node]`. Unless they say otherwise the file is not watched: a test
/// says when it is read.
#[must_use]
pub fn preamble_with(lab: &Lab, node: &str) -> String {
    let [up, down] = INTERFACES;
    let (state, socket) = (lab.directory().join("state"), socket(lab));
    let (state, socket, pins) = (state.display(), socket.display(), pins(lab.tag()));
    let pins = pins.display();
    let watch = if node.contains("watch_config") { "" } else { "watch_config = false\n" };
    format!(
        "[node]\ninterfaces = [\"{up}\", \"{down}\"]\nstate_dir = \"{state}\"\n\
         pin_dir = \"{pins}\"\n{watch}{node}\n\n\
         [admin]\nlisten = \"unix:{socket}\"\n"
    )
}
