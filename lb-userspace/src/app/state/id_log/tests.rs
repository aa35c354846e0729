use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::*;
use crate::tables::Capacity;

const CAPACITY: Capacity = Capacity { services: 1, backends: 1, loads: 20_000, rings: 1 };

/// Goes when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("lb-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn ledger(&self) -> IdLog {
        IdLog::new(StateStore::new(&self.0, BTreeSet::from([1])))
    }

    fn log(&self) -> PathBuf {
        self.0.join(LOG)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn server(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// What was never claimed is let go of at once, and free the next time.
fn forget_all(ids: &mut StableIds) {
    let now = Instant::now();
    for seconds in 0..2 {
        ids.settle(now + Duration::from_secs(seconds), |_| false, |_, _| false);
    }
}

#[test]
fn what_a_kill_cuts_short_never_happened() {
    let directory = Directory::new("cut");
    let mut ledger = directory.ledger();
    let mut ids = StableIds::new(CAPACITY);
    ids.load(server(1)).unwrap();
    ledger.note(&mut ids);
    let mut told = vec![ids.assigned()];
    let mut ends = vec![fs::metadata(directory.log()).unwrap().len()];
    for step in 0..3 {
        match step {
            0 => drop((ids.load(server(2)).unwrap(), ids.load(server(3)).unwrap())),
            1 => forget_all(&mut ids),
            // An index of somebody before.
            _ => drop(ids.load(server(4)).unwrap()),
        }
        ledger.note(&mut ids);
        told.push(ids.assigned());
        ends.push(fs::metadata(directory.log()).unwrap().len());
    }
    assert!(told[3] != told[2] && told[2] != told[1] && told[1] != told[0]);
    let whole = fs::read(directory.log()).unwrap();
    assert_eq!(whole.len() as u64, ends[3]);
    for length in 0..=whole.len() {
        fs::write(directory.log(), &whole[..length]).unwrap();
        let written = ends.iter().rposition(|&end| end <= length as u64).unwrap_or(0);
        assert_eq!(directory.ledger().assigned().as_ref(), Some(&told[written]), "{length} bytes");
    }
}

#[test]
fn the_next_daemon_writes_behind_nothing_that_was_cut() {
    let directory = Directory::new("next");
    let mut ids = StableIds::new(CAPACITY);
    let mut ledger = directory.ledger();
    ledger.note(&mut ids);
    ids.load(server(1)).unwrap();
    ledger.note(&mut ids);
    let text = fs::read(directory.log()).unwrap();
    fs::write(directory.log(), &text[..text.len() - 1]).unwrap();
    let mut next = directory.ledger();
    let mut ids = StableIds::resume(CAPACITY, &next.assigned().unwrap());
    next.note(&mut ids);
    ids.load(server(2)).unwrap();
    next.note(&mut ids);
    assert_eq!(directory.ledger().assigned(), Some(ids.assigned()));
}

#[test]
fn a_log_belongs_to_one_writing() {
    let directory = Directory::new("writing");
    let mut ids = StableIds::new(CAPACITY);
    let mut ledger = directory.ledger();
    ledger.note(&mut ids);
    ids.load(server(1)).unwrap();
    ledger.note(&mut ids);
    let old = fs::read(directory.log()).unwrap();
    directory.ledger().note(&mut StableIds::new(CAPACITY));
    // Killed between the one file and the other.
    fs::write(directory.log(), old).unwrap();
    assert_eq!(directory.ledger().assigned(), Some(IdAssignment::default()));
}

#[test]
fn a_change_costs_a_line_and_a_log_does_not_grow_for_ever() {
    let directory = Directory::new("growth");
    let mut ids = StableIds::new(CAPACITY);
    for n in 0..10_000 {
        ids.load(server(n)).unwrap();
    }
    let mut ledger = directory.ledger();
    ledger.note(&mut ids);
    let length = || fs::metadata(directory.log()).unwrap().len();
    let begun = length();
    ids.load(server(10_000)).unwrap();
    ledger.note(&mut ids);
    assert!((1..100).contains(&(length() - begun)), "{}", length() - begun);
    ledger.note(&mut ids);
    let one = length();
    forget_all(&mut ids);
    ledger.note(&mut ids);
    assert!(length() < one, "all is written anew");
    assert_eq!(directory.ledger().assigned(), Some(IdAssignment::default()));
}
