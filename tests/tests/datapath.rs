//! The loaded kernel object: sizes, attaching, tables.

use std::net::{TcpListener, TcpStream};

use lb::{datapath::DatapathError, settings::XdpMode, tables::Command};
use lb_common::{
    abi::{Address, Backend, Ring, Service, Vip, VipKey, path, status},
    tables::Part,
};
use lb_tests::{
    kernel::object::{load, small},
    lab::{netns::Netns, tag},
};

const TCP: u32 = 6;

fn namespace(purpose: &str) -> Netns {
    tag::alone(purpose).expect("a namespace")
}

fn veth(netns: &Netns, mtu: u32) {
    let add = format!("link add v0 mtu {mtu} type veth peer name v1 mtu {mtu}");
    netns.ip(&add).expect("a veth pair");
    netns.ip("link set v0 up").expect("v0 up");
    netns.ip("link set v1 up").expect("v1 up");
}

#[test]
fn maps_have_the_sizes_of_the_configuration() {
    let datapath = load(&small());
    assert_eq!(datapath.flows.room(Part::Established), 8192);
    assert_eq!(datapath.flows.room(Part::Pending), 2048);
    assert_eq!(datapath.load.slots(), 1000);
    let verdicts = datapath.counters.verdicts().expect("counters");
    assert_eq!(verdicts.pass + verdicts.proxy + verdicts.steer + verdicts.reply, 0);
    assert!(verdicts.drops().all(|(_, count)| count == 0));
}

#[test]
fn the_program_counts_what_it_passes() {
    let mut datapath = load(&small());
    let frame = [0xff; 60];
    let trial = datapath.kernel.test_run(&frame, 1).expect("test run");
    assert_eq!(trial.frame, frame);
    assert_eq!(datapath.counters.verdicts().expect("counters").pass, 1);
}

#[test]
fn native_xdp_attaches_once_and_ends_with_its_owner() {
    let netns = namespace("attach");
    veth(&netns, 1500);
    let shown = || netns.ip("link show v0").expect("link show");
    netns
        .within(|| {
            let mut first = load(&small());
            first.kernel.attach("v0", XdpMode::Native).expect("attach");
            first.kernel.attach("v1", XdpMode::Generic).expect("attach");
            let modes: Vec<_> = first.kernel.attached().collect();
            assert_eq!(modes, [("v0", "native"), ("v1", "generic")]);
            assert!(shown().contains("prog/xdp"));
            for mode in [XdpMode::Native, XdpMode::Generic, XdpMode::Auto] {
                let error = load(&small()).kernel.attach("v0", mode).unwrap_err();
                assert!(matches!(error, DatapathError::Occupied { .. }), "{error}");
            }
            first.kernel.detach();
            load(&small()).kernel.attach("v0", XdpMode::Auto).expect("attach");
            let error = first.kernel.attach("nope", XdpMode::Auto).unwrap_err();
            assert!(error.to_string().contains("`nope`"), "{error}");
        })
        .expect("namespace");
    assert!(!shown().contains("prog/xdp"), "left behind: {}", shown());
}

#[test]
fn a_large_mtu_is_explained_and_auto_falls_back() {
    let netns = namespace("mtu");
    veth(&netns, 9000);
    netns
        .within(|| {
            let mut datapath = load(&small());
            let error = datapath.kernel.attach("v0", XdpMode::Native).unwrap_err();
            assert!(error.to_string().contains("MTU"), "{error}");
            let error = datapath.kernel.attach("lo", XdpMode::Native).unwrap_err();
            assert!(error.to_string().contains("no native XDP"), "{error}");
            datapath.kernel.attach("v0", XdpMode::Auto).expect("auto");
            let modes: Vec<_> = datapath.kernel.attached().collect();
            assert_eq!(modes, [("v0", "generic")]);
        })
        .expect("namespace");
}

#[test]
fn sk_lookup_brings_any_port_of_an_address_to_the_listener() {
    let netns = namespace("lookup");
    netns.ip("route add local 203.0.113.9/32 dev lo").expect("route");
    netns
        .within(|| {
            let mut datapath = load(&small());
            let listener = TcpListener::bind("[::]:0").expect("listener");
            datapath.kernel.attach_listener(&listener).expect("attach");
            let address = Address::v4([203, 0, 113, 9]);
            let key = VipKey::new(address, 443_u16.to_be_bytes(), TCP);
            let vip = Vip { service: 0, path: path::PROXY };
            datapath.tables.apply(&Command::SetVip(key, vip)).expect("vip");
            let client = TcpStream::connect("203.0.113.9:443").expect("connect");
            let (accepted, _) = listener.accept().expect("accept");
            assert_eq!(
                accepted.local_addr().expect("address").to_string(),
                "[::ffff:203.0.113.9]:443"
            );
            drop(client);
            datapath.tables.apply(&Command::RemoveVip(key)).expect("vip");
            assert!(TcpStream::connect("203.0.113.9:443").is_err());
        })
        .expect("namespace");
}

#[test]
fn commands_reach_the_tables_and_their_ends_are_errors() {
    let mut datapath = load(&small());
    let backend = Backend { load: 3, ..Backend::default() };
    for command in [
        Command::SetBackend { id: 63, backend },
        // More than one batch.
        Command::WriteRing { offset: 7, fingerprint: None, words: vec![63; 8000] },
        Command::SetRing { service: 15, ring: Ring::new(7, 7998) },
        Command::SetService { id: 15, service: Service { mss: 1400, ..Service::default() } },
        Command::SetStatus { id: 63, status: status::GONE },
        Command::SetAddress(Address::v4([203, 0, 113, 1]), 0),
        Command::RemoveAddress(Address::v4([203, 0, 113, 1])),
        Command::RemoveAddress(Address::v4([203, 0, 113, 1])),
        Command::ClearBackend { id: 63 },
    ] {
        datapath.tables.apply(&command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
    }
    for command in [
        Command::SetBackend { id: 64, backend },
        Command::WriteRing { offset: 8000, fingerprint: None, words: vec![1; 193] },
        Command::SetRing { service: 16, ring: Ring::new(0, 1) },
        Command::SetStatus { id: 64, status: status::GONE },
    ] {
        let error = datapath.tables.apply(&command).unwrap_err();
        assert!(matches!(error, DatapathError::Full { .. }), "{error}");
    }
}
