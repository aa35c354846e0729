//! The configured certificates, followed while we run.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    by_subject::Certificates,
    directory,
    error::CertificateError,
    load::{Loaded, load},
    validity::{Stage, Validity},
};
use crate::settings::{CertificateFiles, CertificateSource};

/// Between looks at the files. Asking is cheap, and unlike inotify it sees through links, which
/// certbot and Kubernetes swap, and over network file systems.
const LOOK: Duration = Duration::from_secs(2);

/// Handshakes take what is current; nobody waits for whoever changes it.
pub struct CertificateStore {
    current: ArcSwap<Certificates>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    sources: Vec<CertificateSource>,
    /// The pair that clients without a name are shown, where one is marked.
    default: Option<CertificateFiles>,
    pairs: BTreeMap<CertificateFiles, Pair>,
    /// What the last look saw, where that was not taken yet: files may be half written.
    unsettled: Option<Look>,
    /// Directories that the last look could not read.
    unreadable: BTreeSet<PathBuf>,
}

impl Known {
    fn is_default(&self, files: &CertificateFiles) -> bool {
        self.default.as_ref() == Some(files)
    }
}

struct Pair {
    stamps: [Option<Stamp>; 2],
    /// The last that was good.
    loaded: Option<Loaded>,
    /// What is wrong with the files as they are now.
    problem: Option<String>,
    /// How near its end it was when that was last said.
    told: Stage,
}

/// A configured pair, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub files: CertificateFiles,
    /// Empty where none was ever good.
    pub names: Vec<String>,
    /// Of the one that is shown to clients.
    pub validity: Option<Validity>,
    /// Why the files are not taken as they are now.
    pub problem: Option<String>,
}

/// By which a file's change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// In seconds and nanoseconds, of the content and of the entry.
    changed: [i64; 4],
}

/// The files of all pairs, as they lay there at one time.
type Look = BTreeMap<CertificateFiles, [Option<Stamp>; 2]>;

impl CertificateStore {
    /// Reads all of `sources`. What is not sound costs its own names alone, and is read again when
    /// it changes: each such pair and directory is told beside the store.
    #[must_use]
    pub fn open(sources: &[CertificateSource]) -> (Arc<Self>, Vec<CertificateError>) {
        let store = Self { current: ArcSwap::default(), known: Mutex::default() };
        let errors = store.configure(sources);
        (Arc::new(store), errors)
    }

    /// Takes other `sources` from now on. A pair that is in both goes on as it is. What is not
    /// sound costs its own names alone: it is returned.
    pub fn configure(&self, sources: &[CertificateSource]) -> Vec<CertificateError> {
        let mut known = self.lock();
        let default = sources.iter().find_map(|source| match source {
            CertificateSource::Default(files) => Some(files.clone()),
            _ => None,
        });
        // A pair is read in another way where it is the default.
        let differs = [known.default.take(), default.clone()];
        if differs[0] != differs[1] {
            differs.iter().flatten().for_each(|files| drop(known.pairs.remove(files)));
        }
        known.sources = sources.to_vec();
        known.default = default;
        known.unsettled = None;
        let (look, mut errors) = self.look(&mut known);
        errors.extend(self.take(&mut known, look));
        errors
    }

    /// The certificates (DER) that answer for `name`, the preferred first.
    #[cfg(test)]
    pub fn names_shown(&self, name: &str) -> Vec<Vec<u8>> {
        let current = self.current();
        current.of_name(name).iter().map(|key| key.cert[0].to_vec()).collect()
    }

    /// Whether a client that asks for `name` is shown a certificate.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        !self.current().of_name(name).is_empty()
    }

    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Certificates>> {
        self.current.load()
    }

    /// Every configured pair, in the order of the paths.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let known = self.lock();
        let held = known.pairs.iter().map(|(files, pair)| Held {
            files: files.clone(),
            names: pair.loaded.as_ref().map_or_else(Vec::new, |loaded| loaded.subjects.shown()),
            validity: pair.loaded.as_ref().map(|loaded| loaded.validity),
            problem: pair.problem.clone(),
        });
        held.collect()
    }

    /// Takes over what changed since the last call and has come to rest by this one. A pair that is
    /// not sound keeps its last certificate that was, and so do those of a directory that cannot be
    /// read.
    ///
    /// # Errors
    /// Each directory that cannot be read and each pair that is not sound, once for each change.
    pub fn refresh(&self) -> Result<(), Vec<CertificateError>> {
        let mut known = self.lock();
        let (look, mut errors) = self.look(&mut known);
        let is_new = look.len() != known.pairs.len()
            || look.iter().any(|(files, stamps)| {
                known.pairs.get(files).is_none_or(|pair| pair.stamps != *stamps)
            });
        if !is_new {
            known.unsettled = None;
        } else if known.unsettled.as_ref() != Some(&look) {
            known.unsettled = Some(look);
        } else {
            known.unsettled = None;
            errors.extend(self.take(&mut known, look));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The certificates that came nearer to their end since the last call, with what to say: 30, 7
    /// and 1 days before, and when it has come.
    pub fn expiring(&self, now: SystemTime) -> Vec<(PathBuf, String)> {
        let mut known = self.lock();
        let mut expiring = Vec::new();
        for (files, pair) in &mut known.pairs {
            let Some(validity) = pair.loaded.as_ref().map(|loaded| loaded.validity) else {
                continue;
            };
            let stage = validity.stage(now);
            if stage > pair.told {
                let concern = validity.concern(now);
                expiring.extend(concern.map(|concern| (files.cert.clone(), concern)));
            }
            pair.told = stage;
        }
        expiring
    }

    /// Refreshes from time to time, for ever.
    pub async fn follow(self: Arc<Self>) -> Infallible {
        loop {
            for (path, concern) in self.expiring(SystemTime::now()) {
                tracing::warn!("the certificate {} {concern}", path.display());
            }
            sleep(LOOK).await;
            let store = self.clone();
            let refreshed = spawn_blocking(move || store.refresh()).await;
            for error in refreshed.map_or_else(|_| Vec::new(), |it| it.err().unwrap_or_default()) {
                tracing::warn!(%error, "certificate not taken over; the last good one stays");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files as they are now, and the directories that could be read last time and no more:
    /// what vanished whole is more likely unmounted than meant, so its pairs stay as they were.
    fn look(&self, known: &mut Known) -> (Look, Vec<CertificateError>) {
        let (mut look, mut errors) = (Look::new(), Vec::new());
        let mut unreadable = BTreeSet::new();
        let stamped = |files: CertificateFiles| {
            let stamps = [stamp(&files.cert), stamp(&files.key)];
            (files, stamps)
        };
        for source in &known.sources {
            match source {
                CertificateSource::Files(files) | CertificateSource::Default(files) => {
                    look.extend([stamped(files.clone())]);
                }
                CertificateSource::Directory(path) => match directory::pairs(path) {
                    Ok(pairs) => look.extend(pairs.into_iter().map(stamped)),
                    Err(cause) => {
                        let inside = known.pairs.iter().filter(|(it, _)| it.cert.starts_with(path));
                        look.extend(inside.map(|(files, pair)| (files.clone(), pair.stamps)));
                        if !known.unreadable.contains(path) {
                            errors.push(CertificateError::Directory { path: path.clone(), cause });
                        }
                        unreadable.insert(path.clone());
                    }
                },
            }
        }
        known.unreadable = unreadable;
        (look, errors)
    }

    /// Loads what differs from what is known, and makes the result current.
    fn take(&self, known: &mut Known, look: Look) -> Vec<CertificateError> {
        let mut errors = Vec::new();
        let mut before = std::mem::take(&mut known.pairs);
        for (files, stamps) in look {
            let pair = match before.remove(&files) {
                Some(last) if last.stamps == stamps => last,
                last => match load(&files, known.is_default(&files)) {
                    Ok(loaded) => {
                        Pair { stamps, loaded: Some(loaded), problem: None, told: Stage::default() }
                    }
                    Err(error) => {
                        let problem = Some(error.to_string());
                        errors.push(error);
                        let (loaded, told) =
                            last.map_or((None, Stage::default()), |last| (last.loaded, last.told));
                        Pair { stamps, loaded, problem, told }
                    }
                },
            };
            known.pairs.insert(files, pair);
        }
        let loaded = known.pairs.iter().filter_map(|(files, pair)| {
            let loaded = pair.loaded.as_ref()?;
            Some((loaded, known.is_default(files)))
        });
        let certificates = Certificates::new(&loaded.collect::<Vec<_>>());
        tracing::info!(pairs = known.pairs.len(), bad = errors.len(), "certificates read");
        self.current.store(Arc::new(certificates));
        errors
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        changed: [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()],
    })
}
