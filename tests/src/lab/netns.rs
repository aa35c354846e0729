//! Network namespaces, by the names that iproute2 gives them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use super::process::output;

const DIRECTORY: &str = "/run/netns";

/// A namespace. One that was created here is deleted when dropped, with all its links.
pub struct Netns {
    name: String,
    created: bool,
}

impl Netns {
    /// Creates it, with loopback up and IPv6 addresses usable at once.
    pub fn create(name: &str) -> Result<Self> {
        output(Command::new("ip").args(["netns", "add", name]))
            .context("creating a network namespace (this needs root)")?;
        let netns = Self { name: name.to_owned(), created: true };
        netns.ip("link set lo up")?;
        for scope in ["all", "default"] {
            // Duplicate address detection would keep addresses tentative for a second.
            netns.set_sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(netns)
    }

    /// One that somebody else created. It stays.
    #[must_use]
    pub fn existing(name: &str) -> Option<Self> {
        let name = name.to_owned();
        let created = false;
        let netns = Self { name, created };
        netns.path().exists().then_some(netns)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// A command that runs inside. Not by `ip netns exec`, which would hide /sys/fs/bpf.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `ip` inside, with its arguments in one string.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        output(self.command("ip").args(arguments.split_whitespace()))
    }

    /// Runs `work` on a thread that is inside. Sockets that it opens stay inside wherever they go.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path())
            .with_context(|| format!("opening the network namespace {}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering the network namespace {}", self.name))?;
                Ok(work())
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// `key` as below /proc/sys, with slashes.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.within(|| fs::write(Path::new("/proc/sys").join(key), value))?
            .with_context(|| format!("setting {key} to {value}"))
    }

    pub fn sysctl(&self, key: &str) -> Result<String> {
        let text = self
            .within(|| fs::read_to_string(Path::new("/proc/sys").join(key)))?
            .with_context(|| format!("reading {key}"))?;
        Ok(text.trim().to_owned())
    }

    /// Processes inside.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let list = output(Command::new("ip").args(["netns", "pids", &self.name]))?;
        Ok(list.lines().filter_map(|id| id.parse().ok()).collect())
    }

    /// Lets it outlive us.
    pub fn keep(&mut self) {
        self.created = false;
    }

    /// Deletes it, whoever created it.
    pub fn delete(mut self) {
        self.created = true;
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.created {
            let _ = output(Command::new("ip").args(["netns", "delete", &self.name]));
        }
    }
}

/// Names of all namespaces that begin with `prefix`.
#[must_use]
pub fn names(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
