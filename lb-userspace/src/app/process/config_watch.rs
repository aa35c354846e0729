//! Notices that the configuration file has changed.
//!
//! Looking at the file from time to time is cheap and, unlike inotify, sees what editors rename,
//! what Kubernetes swaps by a link, what lies on a bind mount or in a network file system
//! (traefik#5589, #10409), and a file that was wrong once and is right now (traefik#6020).

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking, time::sleep};

/// Between looks. A change is reported by the second look that sees it the same: editors write in
/// several steps.
const LOOK: Duration = Duration::from_millis(500);

/// Identifies a content: device, inode, size, and the times of the last changes in nanoseconds.
type Stamp = (u64, u64, u64, i128, i128);

/// Sends whenever the file at `path` has changed and come to rest, for ever. What it is like at the
/// first look counts as known.
pub(crate) async fn follow(path: PathBuf, changed: mpsc::Sender<()>) {
    let mut look = Look::default();
    loop {
        let file = path.clone();
        // A network file system may keep us waiting.
        let seen = spawn_blocking(move || stamp(&file)).await;
        if let Ok(seen) = seen
            && look.is_changed(seen.ok())
        {
            // One that waits to be handled is enough.
            let _ = changed.try_send(());
        }
        sleep(LOOK).await;
    }
}

/// What was seen so far.
#[derive(Default)]
struct Look {
    /// What was last reported. `None`: nothing was seen yet.
    known: Option<Option<Stamp>>,
    last: Option<Stamp>,
}

impl Look {
    /// Takes in what is `seen` now (`None`: there is no file); returns whether that is a change
    /// that has come to rest. A file that is gone is no change: it is being replaced, or its mount
    /// is away.
    fn is_changed(&mut self, seen: Option<Stamp>) -> bool {
        let rests = std::mem::replace(&mut self.last, seen) == seen;
        let known = *self.known.get_or_insert(seen);
        let is_changed = rests && seen.is_some() && known != seen;
        if is_changed {
            self.known = Some(seen);
        }
        is_changed
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    let nanoseconds =
        |seconds: i64, part: i64| i128::from(seconds) * 1_000_000_000 + i128::from(part);
    let modified = nanoseconds(found.mtime(), found.mtime_nsec());
    let changed = nanoseconds(found.ctime(), found.ctime_nsec());
    Ok((found.dev(), found.ino(), found.size(), modified, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once_it_has_come_to_rest() {
        let content = |n: u64| Some((1, n, 5, 0, 0));
        let mut look = Look::default();
        for (seen, is_changed) in [
            (content(1), false),
            (content(1), false),
            // Half written, then whole.
            (content(2), false),
            (content(3), false),
            (content(3), true),
            (content(3), false),
            // Gone for a moment, and the same again.
            (None, false),
            (None, false),
            (content(3), false),
            (content(3), false),
            // Gone, and another one comes.
            (None, false),
            (content(4), false),
            (content(4), true),
            // What was there before is a change, too.
            (content(1), false),
            (content(1), true),
        ] {
            assert_eq!(look.is_changed(seen), is_changed, "{seen:?}");
        }
    }

    #[test]
    fn a_file_that_comes_late_is_a_change() {
        let mut look = Look::default();
        assert!(!look.is_changed(None));
        assert!(!look.is_changed(Some((1, 1, 1, 1, 1))));
        assert!(look.is_changed(Some((1, 1, 1, 1, 1))));
    }
}
