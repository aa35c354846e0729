//! The configured certificates, followed while we run.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Certificates, Error, directory,
    load::{Loaded, load},
};
use crate::settings::{CertificateFiles, CertificateSource};

/// Between looks at the files. Asking is cheap, and unlike inotify it sees through links, which
/// certbot and Kubernetes swap, and over network file systems.
const LOOK: Duration = Duration::from_secs(2);

/// Handshakes take what is current; nobody waits for whoever changes it.
pub struct CertificateStore {
    sources: Vec<CertificateSource>,
    /// The pair that clients without a name are shown, where one is marked.
    default: Option<CertificateFiles>,
    current: ArcSwap<Certificates>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    pairs: BTreeMap<CertificateFiles, Pair>,
    /// What the last look saw, where that was not taken yet: files may be half written.
    unsettled: Option<Look>,
}

struct Pair {
    stamps: [Option<Stamp>; 2],
    /// The last that was good.
    loaded: Option<Loaded>,
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
    /// Reads all of `sources`.
    ///
    /// # Errors
    /// The first [`Error`]: at the start everything must be sound.
    pub fn open(sources: &[CertificateSource]) -> Result<Arc<Self>, Error> {
        let store = Self {
            sources: sources.to_vec(),
            default: sources.iter().find_map(|source| match source {
                CertificateSource::Default(files) => Some(files.clone()),
                _ => None,
            }),
            current: ArcSwap::default(),
            known: Mutex::default(),
        };
        let look = store.look()?;
        store.take(&mut store.lock(), look).into_iter().next().map_or(Ok(()), Err)?;
        Ok(Arc::new(store))
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

    fn is_default(&self, files: &CertificateFiles) -> bool {
        self.default.as_ref() == Some(files)
    }

    pub(super) fn current(&self) -> arc_swap::Guard<Arc<Certificates>> {
        self.current.load()
    }

    /// Takes over what changed since the last call and has come to rest by this one. A pair that is
    /// not sound keeps its last certificate that was.
    ///
    /// # Errors
    /// A directory that cannot be read, or each pair that is not sound, once for each change.
    pub fn refresh(&self) -> Result<(), Vec<Error>> {
        let look = self.look().map_err(|error| vec![error])?;
        let mut known = self.lock();
        let is_new = look.len() != known.pairs.len()
            || look.iter().any(|(files, stamps)| {
                known.pairs.get(files).is_none_or(|pair| pair.stamps != *stamps)
            });
        if !is_new {
            known.unsettled = None;
            return Ok(());
        }
        if known.unsettled.as_ref() != Some(&look) {
            known.unsettled = Some(look);
            return Ok(());
        }
        known.unsettled = None;
        let errors = self.take(&mut known, look);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Refreshes from time to time, for ever.
    pub async fn follow(self: Arc<Self>) -> Infallible {
        loop {
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

    fn look(&self) -> Result<Look, Error> {
        let mut pairs = BTreeSet::new();
        for source in &self.sources {
            match source {
                CertificateSource::Files(files) | CertificateSource::Default(files) => {
                    pairs.insert(files.clone());
                }
                CertificateSource::Directory(path) => {
                    let found = directory::pairs(path);
                    let unreadable = |cause| Error::Directory { path: path.clone(), cause };
                    pairs.extend(found.map_err(unreadable)?);
                }
            }
        }
        let stamped = pairs.into_iter().map(|files| {
            let stamps = [stamp(&files.cert), stamp(&files.key)];
            (files, stamps)
        });
        Ok(stamped.collect())
    }

    /// Loads what differs from what is known, and makes the result current.
    fn take(&self, known: &mut Known, look: Look) -> Vec<Error> {
        let mut errors = Vec::new();
        let mut before = std::mem::take(&mut known.pairs);
        for (files, stamps) in look {
            let last = before.remove(&files);
            let pair = match last {
                Some(last) if last.stamps == stamps => last,
                last => {
                    let loaded = match load(&files, self.is_default(&files)) {
                        Ok(loaded) => Some(loaded),
                        Err(error) => {
                            errors.push(error);
                            last.and_then(|last| last.loaded)
                        }
                    };
                    Pair { stamps, loaded }
                }
            };
            known.pairs.insert(files, pair);
        }
        let loaded = known.pairs.iter().filter_map(|(files, pair)| {
            let loaded = pair.loaded.as_ref()?;
            Some((loaded, self.is_default(files)))
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
