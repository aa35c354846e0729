//! Programs that run beside a test, and end with it.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long something that must happen may take before it counts as never happening. Generous: it
/// decides between "slow machine" and "broken", nothing else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropping it ends it: SIGTERM, then SIGKILL when that does not help.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts `command` with its output going to `log`. It is the leader of a process group of its
    /// own, so that Ctrl-C reaches only us and we end things in order.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), kept: false })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails, with its output, when it has ended already.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}):\n{}", self.name, self.output());
        }
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(id, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let mut status = None;
        poll(&format!("{} ends", self.name), || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.with_context(|| format!("{} has not ended", self.name))
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Lets it outlive us.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if self.kept || ended || self.stop().is_ok() {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until the answer is yes. Fails when it never comes, saying `what` did not happen.
pub fn poll(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let (started, patience) = (Instant::now(), patience());
    while !ask()? {
        if started.elapsed() > patience {
            bail!("waited {patience:?} in vain: {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// [`PATIENCE`], or as many seconds as the environment says where all is slow.
fn patience() -> Duration {
    let seconds = std::env::var("LB_TESTS_PATIENCE").ok().and_then(|text| text.parse().ok());
    seconds.map_or(PATIENCE, Duration::from_secs)
}

/// Runs a command to its end; its standard output. Fails with its messages.
pub fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, messages.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of this workspace: it lies beside ours, or one up from a test's.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let places = own.ancestors().skip(1).take(2);
    places.map(|place| place.join(name)).find(|program| program.is_file()).with_context(|| {
        format!(
            "no `{name}` beside {}: `cargo xtask test` and `cargo xtask demo` build it first",
            own.display()
        )
    })
}
