//! What one datapath leaves under its names, and what the next one makes of it.

use std::{fs, mem, path::PathBuf};

use lb::{
    datapath::{Datapath, DatapathConfig, DatapathError, Generation, Pins},
    load::LoadSlot,
    settings::XdpMode,
    tables::{Capacity, Command},
};
use lb_common::abi::{Address, Backend, Ring, Vip, VipKey, maps, path};
use lb_tests::{
    kernel::object::{small, timeouts},
    lab::{netns::Netns, tag},
};

/// A namespace with an interface `v0`, and a directory for names. Both go with it.
struct Bench {
    netns: Netns,
    pins: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tag = tag::own();
        let netns = tag::namespace(&tag, "adopt").expect("a namespace");
        netns.ip("link add v0 type veth peer name v1").expect("a veth pair");
        Self { netns, pins: tag::pins(&tag) }
    }

    /// `work` with what was left, in the namespace.
    fn adopt<T: Send>(
        &self,
        config: &DatapathConfig,
        work: impl FnOnce(&mut Datapath) -> T + Send,
    ) -> T {
        let inside = || {
            let pins = Pins::open(&self.pins).expect("the directory");
            let mut datapath = Datapath::adopt(config, timeouts(), pins, &Generation::default())
                .expect("a datapath");
            work(&mut datapath)
        };
        self.netns.within(inside).expect("inside")
    }

    /// The same, taking over and leaving it behind.
    fn leave<T: Send>(
        &self,
        config: &DatapathConfig,
        work: impl FnOnce(&mut Datapath) -> T + Send,
    ) -> T {
        self.adopt(config, |datapath| {
            let result = work(datapath);
            datapath.kernel.take_over().expect("taking over");
            result
        })
    }

    fn map(&self, name: &str) -> PathBuf {
        self.pins.join(format!("v{}", lb_common::abi::ABI_VERSION)).join(name)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.pins);
    }
}

/// One of everything, in the order in which it is read back.
fn filled() -> Vec<Command> {
    let address = Address::v4([203, 0, 113, 1]);
    let key = VipKey::new(address, 443_u16.to_be_bytes(), 6);
    let backend = Backend { load: 3, port: [1, 187], ..Backend::default() };
    vec![
        Command::SetBackend { id: 63, backend },
        Command::WriteRing {
            offset: 7,
            fingerprint: None,
            words: [vec![63; 5000], vec![1, 63, 0]].concat(),
        },
        Command::SetRing { service: 15, ring: Ring::new(7, 5000) },
        Command::SetVip(key, Vip { service: 15, path: path::STEER }),
        Command::SetAddress(address, 0),
    ]
}

fn fill(datapath: &mut Datapath) {
    for command in filled() {
        datapath.tables.apply(&command).expect("a command");
    }
}

/// Counts one frame that passes.
fn pass(datapath: &mut Datapath) -> u64 {
    datapath.kernel.test_run(&[0xff; 60], 1).expect("a trial");
    passed(datapath)
}

fn passed(datapath: &Datapath) -> u64 {
    datapath.counters.verdicts().expect("counters").pass
}

#[test]
fn without_taking_over_nothing_is_left() {
    let bench = Bench::new();
    bench.adopt(&small(), |datapath| {
        fill(datapath);
        datapath.kernel.attach("v0", XdpMode::Native).expect("attach");
        assert!(!datapath.kernel.outlives());
    });
    assert!(!bench.pins.exists());
    assert!(!bench.netns.ip("link show v0").expect("link").contains("prog/xdp"));
}

#[test]
fn contents_counters_and_attachments_go_on() {
    let bench = Bench::new();
    let maps = bench.leave(&small(), |datapath| {
        assert_eq!(datapath.tables.contents().expect("contents"), []);
        fill(datapath);
        datapath.kernel.attach("v0", XdpMode::Generic).expect("attach");
        datapath.load.correct(LoadSlot(3), 4);
        // What a process that is killed holds.
        mem::forget(datapath.load.enter(LoadSlot(3)));
        mem::forget(datapath.load.enter(LoadSlot(999)));
        assert_eq!(pass(datapath), 1);
        datapath.maps.clone()
    });
    bench.adopt(&small(), |datapath| {
        assert_eq!(datapath.maps, maps);
        assert_eq!(datapath.tables.contents().expect("contents"), filled());
        let counts = [3, 999].map(|slot| datapath.load.count(LoadSlot(slot)));
        assert_eq!(counts, [4, 0], "without those of the other process");
        assert_eq!(pass(datapath), 2);
        // The mode that it has, not the one that is wanted.
        datapath.kernel.attach("v0", XdpMode::Native).expect("attach");
        assert!(datapath.kernel.attached().eq([("v0", "generic")]));
        assert!(datapath.kernel.outlives());
    });
    // Who did not take over has taken nothing away.
    assert!(bench.netns.ip("link show v0").expect("link").contains("prog/xdp"));
    bench.adopt(&small(), |datapath| assert_eq!(passed(datapath), 2));
}

#[test]
fn tables_grow_with_their_counts_and_do_not_shrink() {
    let bench = Bench::new();
    bench.leave(&small(), |datapath| {
        fill(datapath);
        pass(datapath);
        datapath.load.correct(LoadSlot(3), 4);
        mem::forget(datapath.load.enter(LoadSlot(3)));
    });
    let more = DatapathConfig { backends: 100, load_slots: 2000, vips: 128, ..small() };
    let large = Capacity { services: 16, backends: 100, loads: 2000, rings: 8192 };
    bench.leave(&more, |datapath| {
        assert_eq!(datapath.tables.capacity(datapath.load.slots()).expect("capacity"), large);
        assert_eq!(datapath.load.count(LoadSlot(3)), 4);
        assert_eq!(passed(datapath), 1);
        // Those that were made anew are empty, for control to fill.
        let contents = datapath.tables.contents().expect("contents");
        let kept: Vec<_> = filled()
            .into_iter()
            .filter(|c| matches!(c, Command::WriteRing { .. } | Command::SetRing { .. }))
            .collect();
        assert_eq!(contents, kept);
        fill(datapath);
    });
    bench.leave(&small(), |datapath| {
        assert_eq!(datapath.tables.capacity(datapath.load.slots()).expect("capacity"), large);
        assert_eq!(datapath.tables.contents().expect("contents"), filled());
        assert_eq!(datapath.load.count(LoadSlot(3)), 4);
    });
}

#[test]
fn what_is_not_ours_is_replaced_under_its_name() {
    let bench = Bench::new();
    bench.leave(&small(), fill);
    // A map of another kind in the place of one, and one that no version has.
    fs::rename(bench.map(maps::VIPS), bench.map(maps::ADDRESSES)).expect("rename");
    fs::rename(bench.map(maps::REACH), bench.map("OTHER")).expect("rename");
    bench.leave(&small(), |datapath| {
        let contents = datapath.tables.contents().expect("contents");
        assert_eq!(contents, filled()[..3], "the two are empty");
        fill(datapath);
    });
    assert!(!bench.map("OTHER").exists());
    assert!([maps::VIPS, maps::ADDRESSES, maps::REACH].iter().all(|name| bench.map(name).exists()));
    bench.adopt(&small(), |datapath| {
        assert_eq!(datapath.tables.contents().expect("contents"), filled());
    });
}

#[test]
fn a_flow_table_goes_on_with_its_secret_only() {
    let bench = Bench::new();
    bench.leave(&small(), |_| ());
    let number = |name| {
        let map = fs::metadata(bench.map(name)).expect("a name");
        std::os::unix::fs::MetadataExt::ino(&map)
    };
    let [flows, vips] = [maps::FLOWS, maps::VIPS].map(number);
    bench.leave(&small(), |_| ());
    assert_eq!([maps::FLOWS, maps::VIPS].map(number), [flows, vips]);
    fs::remove_file(bench.map("SEED")).expect("removed");
    bench.leave(&small(), |_| ());
    assert_ne!(number(maps::FLOWS), flows);
    assert_eq!(number(maps::VIPS), vips);
}

#[test]
fn the_directory_is_for_one_at_a_time_and_goes_when_removed() {
    let bench = Bench::new();
    bench.adopt(&small(), |datapath| {
        let error = Pins::open(&bench.pins).expect_err("taken");
        assert!(matches!(error, DatapathError::PinsTaken { .. }), "{error}");
        datapath.kernel.attach("v0", XdpMode::Native).expect("attach");
        datapath.kernel.take_over().expect("taking over");
    });
    let removed = bench.netns.within(|| Pins::open(&bench.pins).and_then(Pins::remove));
    let removed = removed.expect("inside").expect("removed");
    assert_eq!(removed.interfaces, [("v0".to_owned(), "native")]);
    assert!(removed.maps > 10 && !removed.listeners, "{removed:?}");
    assert!(!bench.pins.exists());
    assert!(!bench.netns.ip("link show v0").expect("link").contains("prog/xdp"));
}
