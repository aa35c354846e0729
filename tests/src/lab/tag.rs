//! Names that say whose they are: what a test lays out on the host is called after its process, so
//! that runs stand side by side, and what a SIGKILL left is known by the next one.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    netns::{self, Netns},
    process::poll,
};

const PREFIX: &str = "lb-";

/// One that nobody has. What processes left that are gone is removed first.
#[must_use]
pub fn own() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    remove_orphans();
    format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A new namespace `name` of `tag`.
///
/// # Errors
///
/// No root.
pub fn namespace(tag: &str, name: &str) -> Result<Netns> {
    Netns::create(&format!("{PREFIX}{tag}-{name}"))
}

/// A new namespace with a tag to itself.
///
/// # Errors
///
/// No root.
pub fn alone(name: &str) -> Result<Netns> {
    namespace(&own(), name)
}

/// Where the files of `tag` lie.
#[must_use]
pub fn directory(tag: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{tag}"))
}

/// Where the data path of `tag` has its names.
#[must_use]
pub fn pins(tag: &str) -> PathBuf {
    Path::new("/sys/fs/bpf").join(format!("{PREFIX}{tag}"))
}

/// Namespace `name` of `tag`.
#[must_use]
pub fn find(tag: &str, name: &str) -> Option<Netns> {
    Netns::existing(&format!("{PREFIX}{tag}-{name}"))
}

/// Ends the processes in the namespaces of `tag` and removes these, its files and its data path.
/// Says whether there were any.
///
/// # Errors
///
/// The processes cannot be listed.
pub fn remove(tag: &str) -> Result<bool> {
    let names = netns::names(&format!("{PREFIX}{tag}-"));
    for name in &names {
        let Some(netns) = Netns::existing(name) else {
            continue;
        };
        end_processes(&netns)?;
        netns.delete();
    }
    remove_files(tag);
    Ok(!names.is_empty())
}

/// Removes the files and the data path of `tag`.
pub fn remove_files(tag: &str) {
    let _ = fs::remove_dir_all(directory(tag));
    let _ = fs::remove_dir_all(pins(tag));
}

fn end_processes(netns: &Netns) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for id in netns.processes()? {
            let _ = kill(Pid::from_raw(id), signal);
        }
        let ended = poll("the lab's processes end", || Ok(netns.processes()?.is_empty()));
        if ended.is_ok() {
            break;
        }
    }
    Ok(())
}

fn remove_orphans() {
    for name in netns::names(PREFIX) {
        let owner = name[PREFIX.len()..].split('-').next().and_then(|id| id.parse::<u32>().ok());
        let (Some(owner), Some(tag)) = (owner, tag_of(&name)) else {
            continue;
        };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            let _ = remove(tag);
        }
    }
}

/// The tag of the namespace `lb-PID-N-…`.
fn tag_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let end = rest.match_indices('-').nth(1).map(|(at, _)| at)?;
    Some(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_told_from_the_name() {
        assert_eq!(tag_of("lb-12-3-client"), Some("12-3"));
        assert_eq!(tag_of("lb-12-3-host-a"), Some("12-3"));
        assert_eq!((tag_of("lb-lab-client"), tag_of("other-1-2-c")), (None, None));
    }
}
