use super::*;
use crate::control::fixture;
use crate::{
    load::LoadSlot,
    service::{Access, Limits, RateLimits, Server, SourceRate, SynFlood},
};

fn with(steering: Steering) -> Service {
    let raw = fixture::service("raw", &["203.0.113.1"], vec![fixture::port(1, &[])], &[]);
    Service { steering, ..raw }
}

#[test]
fn nothing_said_is_all_zero_but_that_unknown_flows_are_reset() {
    let flags = service_flags::RESET_UNKNOWN;
    let expected = abi::Service { flags, ..abi::Service::default() };
    assert_eq!(service(&with(Steering::default()), AddressFamily::V4), expected);
}

#[test]
fn limits_become_intervals() {
    let rate = Rate { rate: 1000, burst: 1 };
    let source = SourcePrefix { v4: 24, v6: 64 };
    let per_source = Some(SourceRate { rate: Rate { burst: 101, ..rate }, source });
    let rate_limits = RateLimits { per_source, per_service: Some(rate) };
    let entry = service(&with(Steering { rate_limits, ..Steering::default() }), AddressFamily::V4);
    assert_eq!((entry.source_interval, entry.source_burst), (1_000_000, 100_000_000));
    assert_eq!((entry.service_interval, entry.service_burst), (1_000_000, 10_000_000));
    assert_eq!((entry.source_prefix.v4, entry.source_prefix.v6), (24, 64));
}

#[test]
fn segments_fit_what_is_around_them() {
    let mss = |forwarding, mtu, mss_clamp, family| {
        let mut service = with(Steering { forwarding, mtu, mss_clamp, ..Steering::default() });
        service.pool.servers = vec![Server::at("10.0.0.1:1".parse().unwrap())];
        super::service(&service, family).mss
    };
    use {AddressFamily::*, Forwarding::*, MssClamp::*};
    assert_eq!(mss(Nat, None, Off, V4), 0);
    assert_eq!(mss(Nat, None, ToMtu, V4), 1460);
    assert_eq!(mss(Nat, None, ToMtu, V6), 1440);
    assert_eq!(mss(Ipip, Some(9000), ToMtu, V4), 9000 - 40 - 20);
    assert_eq!(mss(Gue, None, ToMtu, V6), 1500 - 60 - 28);
    assert_eq!(mss(Gue, None, To(1300), V6), 1300);
}

#[test]
fn flags_say_what_the_kernel_must_look_at() {
    let all = |steering| service(&with(steering), AddressFamily::V4).flags;
    assert_eq!(all(Steering::default()), service_flags::RESET_UNKNOWN);
    let direct = Steering { forwarding: Forwarding::L2, ..Steering::default() };
    assert_eq!(all(direct), 0, "another node may know them");
    let flags = |steering| all(Steering { unknown_flows: UnknownFlows::Drop, ..steering });
    let prefixes = || ["10.0.0.0/8".parse().unwrap()].into();
    let move_flows = Steering { on_backend_down: OnBackendDown::Move, ..Steering::default() };
    assert_eq!(flags(move_flows), service_flags::MOVE);
    let limits = Limits { soft: None, hard: Some(1) };
    assert_eq!(flags(Steering { limits, ..Steering::default() }), service_flags::LIMITED);
    let access = Access { deny: prefixes(), ..Access::default() };
    assert_eq!(flags(Steering { access, ..Steering::default() }), service_flags::LISTED);
    let access = Access { allow: prefixes(), ..Access::default() };
    let listed = service_flags::LISTED | service_flags::DENY_OTHERS;
    assert_eq!(flags(Steering { access, ..Steering::default() }), listed);
    let remember = Duration::from_secs(1);
    let syn_flood = Some(SynFlood { threshold: 7, remember });
    let flood = service(&with(Steering { syn_flood, ..Steering::default() }), AddressFamily::V4);
    assert_eq!((flood.challenge, flood.remember), (7, 1_000_000_000));
}

#[test]
fn a_backend_knows_its_limits() {
    let limits = Limits { soft: Some(20), hard: None };
    let steering = Steering { limits, mtu: Some(1400), ..Steering::default() };
    let server = Backend::new(Server::at("[fd00::1]:0".parse().unwrap()), LoadSlot(7));
    let entry =
        backend(&server, &steering, fixture::one("fd00::fe".parse().unwrap()), &fixture::ENCAP);
    assert_eq!((entry.soft_limit, entry.hard_limit, entry.mtu), (20, u32::MAX, 1400));
    assert_eq!((entry.port, entry.load), ([0, 0], 7), "port 0: the one asked for");
}

#[test]
fn outer_headers_say_what_the_node_does() {
    let entry = |forwarding, server: &str, source: &str| {
        let server = Backend::new(Server::at(server.parse().unwrap()), LoadSlot(0));
        let steering = Steering { forwarding, ..Steering::default() };
        backend(&server, &steering, fixture::one(source.parse().unwrap()), &fixture::ENCAP)
    };
    let of = |text: &str| Address::of(text.parse().unwrap());
    let ipip = entry(Forwarding::Ipip, "10.0.0.1:80", "10.0.0.254");
    assert_eq!((ipip.source, ipip.spread), (of("172.16.0.0"), 16));
    let ipip = entry(Forwarding::Ipip, "[fd00::1]:80", "fd00::fe");
    assert_eq!((ipip.source, ipip.spread), (of("100::"), 32));
    let gue = entry(Forwarding::Gue, "10.0.0.1:80", "10.0.0.254");
    assert_eq!((gue.source, gue.spread, gue.port), (of("10.0.0.254"), 0, [0x17, 0xc0]));
    let nat = entry(Forwarding::Nat, "10.0.0.1:80", "10.0.0.254");
    assert_eq!((nat.source, nat.spread, nat.port), (of("10.0.0.254"), 0, [0, 80]));
    assert_eq!((nat.sources, nat.ends), (1, 30_720));
    assert_eq!((ipip.sources, ipip.ends, gue.sources, gue.ends), (0, 0, 0, 0));
}
