//! Installing Debian packages.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::process::{answer, is_root, run};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether packages come from apt here.
#[must_use]
pub fn is_here() -> bool {
    Path::new("/usr/bin/apt-get").exists() && Path::new("/etc/debian_version").exists()
}

/// Those of `packages` that are not installed.
#[must_use]
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !is_installed(package)).collect()
}

/// Installs `packages`. Never removes others for them. Waits for another dpkg to end.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_here() {
        bail!("please install with your package manager what Debian calls: {}", packages.join(" "));
    }
    if !is_root() {
        bail!("not root; please type: sudo apt-get install {}", packages.join(" "));
    }
    refresh_unless_known(packages)?;
    let _quiet = StartNoDaemons::while_installing();
    run(apt_get()
        .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
        .args(packages))
}

/// Whether apt's lists offer `package`.
#[must_use]
pub fn offers(package: &str) -> bool {
    let policy = answer(Command::new("apt-cache").args(["policy", package]));
    policy.is_some_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
}

/// Fetches the lists when they are missing or do not know one of `packages`.
pub fn refresh_unless_known(packages: &[&str]) -> Result<()> {
    if packages.iter().all(|package| offers(package)) {
        return Ok(());
    }
    refresh()
}

/// Fetches the lists.
pub fn refresh() -> Result<()> {
    run(apt_get().arg("update"))
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    answer(&mut query).as_deref() == Some("installed")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Debian starts a daemon when it installs one. The lab wants nginx's binary, not a web server on
/// the host: Debian's policy layer says so while this lives, unless the host has a policy.
struct StartNoDaemons(Option<PathBuf>);

impl StartNoDaemons {
    fn while_installing() -> Self {
        let policy = PathBuf::from(POLICY);
        let written = !policy.exists()
            && fs::write(&policy, "#!/bin/sh\nexit 101\n").is_ok()
            && fs::set_permissions(&policy, fs::Permissions::from_mode(0o755)).is_ok();
        Self(written.then_some(policy))
    }
}

impl Drop for StartNoDaemons {
    fn drop(&mut self) {
        if let Some(policy) = &self.0 {
            let _ = fs::remove_file(policy);
        }
    }
}
