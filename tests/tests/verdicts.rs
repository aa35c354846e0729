//! The table of frames through the loaded object, over the host's real routing.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lb::{
    datapath::{Datapath, DatapathConfig},
    load::LoadSlot,
    settings::FlowTimeouts,
    tables::Command,
};
use lb_common::{
    abi::{Backend, outcome},
    tables::Tables as _,
    testing::{
        Frame, Row,
        dialogue::{self, Fate},
        frames::{CLIENT_MAC, OUR_MAC},
        modes::{NARROW_CLIENTS, NARROW_MTU},
        rows,
        world::{self, BACKEND_MAC, CLIENT_VLAN, SOURCE_MAC, VLAN},
    },
    verdict::{Reason, Verdict},
};
use lb_tests::{
    kernel::{
        map_bytes::{Maps, differences},
        mirror::{self, link},
    },
    lab::{netns::Netns, tag},
};

/// `enum xdp_action` in include/uapi/linux/bpf.h.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

#[test]
fn every_row_of_the_table() {
    let lab = Lab::create();
    let failed = lab.netns.within(|| {
        let mut datapath = lab.load();
        let maps = Maps::open().expect("maps");
        let failed = (0..).zip(rows()).filter_map(|(number, row)| {
            // TEST_RUN takes no frame shorter than an Ethernet header.
            assert!(row.frame.0.len() >= 14, "{}", row.name);
            let row = row.apart(number as u16);
            start_afresh(&mut datapath, number);
            let result = lab.run(&mut datapath, &maps, number, &row);
            result.err().map(|error| format!("{}: {error}", row.name))
        });
        failed.collect::<Vec<_>>()
    });
    let failed = failed.expect("the namespace");
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_challenge_and_its_answers() {
    let lab = Lab::create();
    let held = lab.netns.within(|| {
        let tags = [None, Some(CLIENT_VLAN)];
        let cases = [0, 1].into_iter().flat_map(|family| tags.map(|vlan| (family, vlan)));
        cases.map(|(family, vlan)| lab.challenge(family, vlan)).collect::<Result<Vec<_>, _>>()
    });
    held.expect("the namespace").expect("the dialogue");
}

/// A network around the table's world. This kernel may lack VLAN devices, so two interfaces
/// stand for them: what matters is that routing names them and the object knows their tags.
struct Lab {
    netns: Netns,
    up: u32,
    down: u32,
    client_vlan: u32,
    client_double: u32,
    backend_double: u32,
    backend_vlan: u32,
    /// To clients behind a narrower link.
    narrow: u32,
    // Last, so that the namespace is gone before the next one is made.
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    fn create() -> Self {
        // What explaining changes is looked for in all maps of this process.
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let netns = tag::alone("verdicts").expect("root");
        let [client, client6] = world::CLIENTS;
        let [tagged, tagged6] = world::TAGGED_CLIENTS;
        let [backend, backend6] = world::BACKENDS;
        let [behind, behind6] = world::VLAN_BACKENDS;
        let narrow = link(&netns, "narrow0", OUR_MAC, CLIENT_MAC, &NARROW_CLIENTS);
        netns.ip(&format!("link set narrow0 mtu {NARROW_MTU}")).expect("ip");
        let lab = Self {
            _turn: turn,
            narrow,
            up: link(&netns, "up0", OUR_MAC, CLIENT_MAC, &[client, client6]),
            client_double: link(&netns, "cdouble0", OUR_MAC, CLIENT_MAC, &world::DOUBLE_CLIENTS),
            backend_double: link(
                &netns,
                "bdouble0",
                SOURCE_MAC,
                BACKEND_MAC,
                &world::DOUBLE_BACKENDS,
            ),
            client_vlan: link(&netns, "ctag0", OUR_MAC, CLIENT_MAC, &[tagged, tagged6]),
            down: link(&netns, "down0", SOURCE_MAC, BACKEND_MAC, &[backend, backend6]),
            backend_vlan: link(&netns, "btag0", SOURCE_MAC, BACKEND_MAC, &[behind, behind6]),
            netns,
        };
        mirror::forward(&lab.netns);
        lab
    }

    fn load(&self) -> Datapath {
        let config = DatapathConfig {
            max_flows: 64,
            max_half_open: 64,
            backends: 128,
            services: 128,
            vips: 256,
            ring_slots: 512,
            load_slots: load_slot(rows().len() as u32 + 4, 0).0,
            ..DatapathConfig::default()
        };
        let hour = Duration::from_secs(3600);
        let timeouts = FlowTimeouts {
            half_open: hour,
            established: hour,
            closing: hour,
            closed: hour,
            reset: hour,
            udp_unanswered: hour,
            udp_answered: hour,
            udp: hour,
        };
        let mut datapath = Datapath::load(&config, timeouts).expect("loading the object");
        let pool = mirror::source_pool(&world::model(0));
        datapath.tables.set_source_pool(&pool).expect("room");
        for command in mirror::commands(&world::model(0)) {
            datapath.tables.apply(&command).expect("filling the tables");
        }
        let mut vlan = |device, parent, tags| {
            datapath.tables.set_vlan(device, parent, tags).expect("a VLAN device");
        };
        vlan(self.client_vlan, self.up, [CLIENT_VLAN, 0]);
        vlan(self.backend_vlan, self.down, [VLAN, 0]);
        vlan(self.client_double, self.up, world::CLIENT_DOUBLE);
        vlan(self.backend_double, self.down, world::DOUBLE);
        // Another interface than frames came by would make a redirect of what the table calls
        // XDP_TX.
        vlan(self.narrow, self.up, [0, 0]);
        datapath
    }

    fn challenge(&self, family: usize, vlan: Option<u16>) -> Result<(), String> {
        let mut datapath = self.load();
        start_afresh(&mut datapath, 0);
        dialogue::challenge(family, vlan, |frame| {
            let before = datapath.counters.verdicts().expect("counters");
            let trial = datapath.kernel.test_run(&frame.0, self.up).expect("run");
            let after = datapath.counters.verdicts().expect("counters");
            let mut drops = after.drops();
            let reason = drops.find(|(reason, count)| *count > before.dropped(*reason));
            let fate = match (trial.action, reason) {
                (XDP_REDIRECT, None) => Fate::Steered,
                (XDP_TX, Some((reason, _))) => Fate::Answered(reason),
                (XDP_DROP, Some((reason, _))) => Fate::Dropped(reason),
                other => panic!("{other:?}"),
            };
            (fate, Frame(trial.frame))
        })
    }

    fn run(
        &self,
        datapath: &mut Datapath,
        maps: &Maps,
        number: u32,
        row: &Row,
    ) -> Result<(), String> {
        let mut send = |frame: &Frame| datapath.kernel.test_run(&frame.0, self.up).expect("run");
        for frame in &row.before {
            send(frame);
        }
        for id in world::members::falling() {
            let falls = Command::SetStatus { id, status: row.falling };
            datapath.tables.apply(&falls).expect("a status");
        }
        let before = datapath.counters.verdicts().expect("counters");
        let bytes = maps.read().expect("maps");
        let told = datapath.watcher.explain(&row.frame.0, "up0").expect("explain");
        let changed = differences(&bytes, &maps.read().expect("maps"));
        if !changed.is_empty() {
            return Err(format!("explaining has effects: {changed:?}"));
        }
        let trial = send(&row.frame);
        let counters = datapath.counters.verdicts().expect("counters");
        let dropped = counters.drops().filter(|(reason, count)| *count > before.dropped(*reason));
        let dropped: Vec<Reason> = dropped.map(|(reason, _)| reason).collect();
        let action = match row.verdict {
            Verdict::Pass | Verdict::Proxy => XDP_PASS,
            Verdict::Steer { ifindex: 1, .. } | Verdict::Reply | Verdict::Answer(_) => XDP_TX,
            Verdict::Steer { .. } => XDP_REDIRECT,
            Verdict::Drop(_) => XDP_DROP,
        };
        if trial.action != action {
            return Err(format!("action {}, not {action}; drops {dropped:?}", trial.action));
        }
        if let Verdict::Drop(reason) | Verdict::Answer(reason) = row.verdict
            && dropped != [reason]
        {
            return Err(format!("{dropped:?}, not {reason:?}"));
        }
        if let Verdict::Drop(_) = row.verdict {
            return Ok(());
        }
        if told.decision.outcome == outcome::DROP || told.frame != trial.frame {
            return Err(format!("explained as {:?}", Frame(told.frame)));
        }
        let (out, expected) = (Frame(trial.frame), row.out.as_ref().unwrap_or(&row.frame));
        if !row.wants(&out) {
            return Err(format!("out {out:?}\nexpected {expected:?}"));
        }
        let family = u32::from(row.name.starts_with("v6"));
        let live = datapath.load.count(load_slot(number, family));
        match row.live {
            Some(expected) if live != expected => Err(format!("{live} live, not {expected}")),
            _ => Ok(()),
        }
    }
}

/// Without flows, and with counts and source ports that no row has used.
fn start_afresh(datapath: &mut Datapath, number: u32) {
    datapath.flows.clear();
    let model = world::model(0);
    for (id, backend) in (0..).zip(&model.backends) {
        let load = load_slot(number, backend.load).0;
        let backend = Backend { load, ..*backend };
        let status = model.reach(id).expect("one for each backend").status();
        datapath.tables.apply(&Command::SetBackend { id, backend }).expect("a backend");
        datapath.tables.apply(&Command::SetStatus { id, status }).expect("a status");
    }
}

fn load_slot(row: u32, load: u32) -> LoadSlot {
    LoadSlot(4 * row + load)
}
