//! One boot under emulation.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{initrd::VERDICT, package::Kernel};

/// Seconds after which a guest hangs rather than works.
const LIMIT: &str = "2700";
/// Lines of its kernel's log that a failure shows.
const TAIL: usize = 20;

pub(super) struct Guest<'a> {
    pub kernel: &'a Kernel,
    pub initrd: &'a Path,
    pub directory: &'a Path,
}

impl Guest<'_> {
    /// Runs it to its end, and shows what it prints.
    ///
    /// # Errors
    ///
    /// It does not say that all went well.
    pub(super) fn run(&self) -> Result<()> {
        let console = self.directory.join("console");
        let mut emulator = self.command(&console).spawn().context("starting the emulator")?;
        let output = emulator.stdout.take().context("the guest's output")?;
        let mut verdict = None;
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
            match line.strip_prefix(VERDICT) {
                Some(code) => verdict = Some(code.trim() == "0"),
                None => println!("{line}"),
            }
        }
        emulator.wait()?;
        match verdict {
            Some(true) => Ok(()),
            Some(false) => bail!("something failed, see above"),
            None => bail!("the guest ended or hung before it was done:\n{}", tail(&console)),
        }
    }

    /// It ends when its time is up, and when we end.
    fn command(&self, console: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "timeout", "--foreground", "--kill-after=5", LIMIT])
            .args(["nice", "-n", "10", "qemu-system-x86_64", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "max", "-M", "q35", "-m", "2048", "-smp", "2"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .args([
                "-fsdev",
                "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            ])
            .args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"])
            .arg("-kernel")
            .arg(self.kernel.image())
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-append")
            .arg("console=ttyS0 quiet panic=-1 reboot=t mitigations=off init_on_alloc=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

fn tail(console: &Path) -> String {
    let log = fs::read(console).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
