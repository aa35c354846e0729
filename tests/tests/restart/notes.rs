//! What the daemon notes for the next one, on a disk that is full or was cleaned up.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use lb_tests::lab::process::{output, poll};
use nix::sys::signal::Signal;

use super::scene::Scene;

/// A file system of its own, with room for a few files. Unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// What lies at `path` goes on lying there.
    fn over(path: &Path) -> Result<Self> {
        let files: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
        let contents: Vec<_> =
            files.iter().map(|file| fs::read(file.path())).collect::<Result<_, _>>()?;
        output(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(path))?;
        let small = Self(path.to_owned());
        for (file, content) in files.iter().zip(contents) {
            fs::write(file.path(), content)?;
        }
        Ok(small)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn fill(&self) -> Result<()> {
        let mut filler = fs::File::create(self.filler())?;
        while filler.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// d2iq-archive/marathon-lb#603, hashicorp/consul#820: for want of disk space nothing was served.
#[test]
fn a_full_disk_stops_no_start() -> Result<()> {
    let mut scene = Scene::up()?;
    scene.end(Signal::SIGKILL)?;
    let state = scene.lab.directory().join("state");
    let small = Small::over(&state)?;
    small.fill()?;
    for round in 0..2 {
        scene.start()?;
        scene.goes_on()?;
        scene.counts()?;
        let log = scene.daemon()?.log();
        let told = log.matches("cannot record the ids of the kernel's entries").count();
        assert_eq!(told, 1, "round {round}: {log}");
        scene.end(Signal::SIGKILL)?;
    }
    scene.start()?;
    fs::remove_file(small.filler())?;
    poll("the notes are written", || {
        let log = scene.daemon()?.log();
        Ok(log.contains("written, now that there is room") && state.join("ids.json").exists())
    })?;
    scene.goes_on()?;
    scene.end(Signal::SIGKILL)?;
    scene.start()?;
    scene.counts()?;
    let log = scene.daemon()?.log();
    assert!(!log.contains("the ids of these entries was lost"), "{log}");
    let result = scene.close();
    drop(small);
    result
}

#[test]
fn a_state_directory_that_is_removed_is_made_again() -> Result<()> {
    let mut scene = Scene::up()?;
    let state = scene.lab.directory().join("state");
    let mut files = names(&state)?;
    fs::remove_dir_all(&state)?;
    // The lock is of no use to anybody any more.
    files.retain(|name| name != "lock");
    poll("the notes are there again", || {
        let now = names(&state).unwrap_or_default();
        Ok(files.iter().all(|name| now.contains(name)))
    })?;
    scene.end(Signal::SIGKILL)?;
    scene.start()?;
    scene.goes_on()?;
    scene.counts()?;
    let log = scene.daemon()?.log();
    assert!(!log.contains("lost") && !log.contains("are not known"), "{log}");
    scene.close()
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
