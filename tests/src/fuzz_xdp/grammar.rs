//! Frames: of flows that there are, of new ones, of none, and what networks do to them.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    abi::{Flow, FlowKey, PENDING, mode},
    parse::TCP,
    syn_cookie,
    tables::{Part, Tables as _},
    testing::{
        Frame, Model,
        frames::{self, Link},
        tunnels::too_big,
    },
};

use super::{
    mutate,
    scene::{BACKENDS, CLIENTS, VIPS, ip, ip_of},
    world::{self, MEMBERS, NO_PORT, PROXY_PORT, SERVICES},
};
use crate::dice::Dice;

/// Remembers frames that come again, and pieces that are still to come.
#[derive(Default)]
pub(super) struct Grammar {
    due: Vec<Frame>,
    past: Vec<Frame>,
}

/// Frames that may come again.
const PAST: usize = 8;
/// The kernel takes a page in a test run, with room around the frame.
const LONGEST: usize = 3000;
/// And no less than an Ethernet header.
const SHORTEST: usize = 14;

impl Grammar {
    pub(super) fn frame(&mut self, dice: &mut Dice, model: &Model) -> Vec<u8> {
        let mut frame = match self.due.pop() {
            Some(piece) => piece,
            None if dice.one_in(12) && !self.past.is_empty() => {
                let place = dice.below(self.past.len());
                self.past[place].clone()
            }
            None => self.new_frame(dice, model),
        };
        if dice.one_in(4) {
            frame = mutate::spoil(dice, frame);
        }
        frame.0.truncate(LONGEST);
        if frame.0.len() < SHORTEST {
            frame.0.resize(SHORTEST, 0);
        }
        frame.0
    }

    fn new_frame(&mut self, dice: &mut Dice, model: &Model) -> Frame {
        let plain = plain(dice, model);
        let Some(plain) = mutate::is_ip(&plain).then_some(&plain) else { return plain };
        let mut frames = mutate::dress(dice, plain.clone());
        self.past.push(frames[0].clone());
        if self.past.len() > PAST {
            self.past.remove(dice.below(PAST));
        }
        // In their order more often than not.
        frames.reverse();
        if frames.len() > 1 && dice.one_in(4) {
            let last = frames.len() - 1;
            frames.swap(0, last);
        }
        let first = frames.pop().expect("one at least");
        self.due = frames;
        first
    }
}

/// Without tags, options or faults.
fn plain(dice: &mut Dice, model: &Model) -> Frame {
    let known = known_flow(dice, model);
    match (dice.below(20), known) {
        (0..3, Some(flow)) if flow.number & PENDING != 0 => proceed(dice, &flow),
        (0..9, Some(flow)) => of_flow(dice, &flow),
        (9..15, _) => opening(dice, model),
        (15, known) => error(dice, known),
        (16, _) => message(dice),
        (17, _) => challenge_answer(dice, model),
        (18, _) => stray(dice),
        (_, _) => opening(dice, model),
    }
}

fn known_flow(dice: &mut Dice, model: &Model) -> Option<Flow> {
    let part = if dice.one_in(2) { Part::Established } else { Part::Pending };
    let flows = model.flows(part);
    (!flows.is_empty()).then(|| flows[dice.below(flows.len())].1)
}

pub(super) fn link(dice: &mut Dice) -> Link {
    let ttl = if dice.one_in(16) { dice.pick(&[0, 1, 2]) } else { dice.pick(&[64, 255]) };
    Link { ttl, ..Link::default() }
}

fn payload(dice: &mut Dice) -> Vec<u8> {
    let length = match dice.below(10) {
        0..5 => dice.below(40),
        5..8 => dice.pick(&[512, 1220, 1240, 1260, 1352, 1360, 1372, 1380]),
        8 => dice.pick(&[1432, 1440, 1452, 1460, 1472, 2000]),
        _ => dice.below(1500),
    };
    dice.bytes(length)
}

/// Flags that TCP sends, and now and then others.
fn flags(dice: &mut Dice) -> &'static str {
    match dice.below(12) {
        0..2 => "S",
        2 => "SA",
        3..7 => "A",
        7 => dice.pick(&["FA", "F"]),
        8 => dice.pick(&["R", "RA"]),
        9 => "AP",
        10 => dice.pick(&["", "SF", "SR", "SFRAP", "SAF", "P"]),
        _ => "A",
    }
}

fn ends(key: &FlowKey) -> (SocketAddr, SocketAddr) {
    let port = u16::from_be_bytes;
    let from = SocketAddr::new(ip_of(key.src), port(key.src_port));
    (from, SocketAddr::new(ip_of(key.dst), port(key.dst_port)))
}

/// Of the client, or of the backend where answers come by us; rarely where they do not.
fn of_flow(dice: &mut Dice, flow: &Flow) -> Frame {
    let answers = if flow.mode() == mode::NAT { dice.one_in(2) } else { dice.one_in(20) };
    let same_family = flow.vip.is_v4() == flow.backend_address.is_v4();
    let key = if answers && same_family { flow.answer() } else { flow.question() };
    let (from, to) = ends(&key);
    if flow.protocol != TCP {
        return frames::udp(link(dice), from, to, &datagram(dice, flow.backend));
    }
    let (flags, payload) = (if answers { answer_flags(dice) } else { flags(dice) }, payload(dice));
    let frame = frames::tcp(link(dice), from, to, flags, &payload);
    if dice.one_in(4) {
        return frame;
    }
    let expected = u32::from_be_bytes(flow.expected);
    let ahead = dice.pick(&[0, 0, 1, 65_535, 65_536]);
    frame.sequenced(sequence(dice)).acknowledging(expected.wrapping_add(ahead))
}

/// Mostly near those of the same sender's other segments.
fn sequence(dice: &mut Dice) -> u32 {
    if dice.one_in(8) { dice.half() } else { dice.below(1 << 20) as u32 }
}

/// As both ends go on that mean it: a handshake, or a datagram and its answer.
fn proceed(dice: &mut Dice, flow: &Flow) -> Frame {
    let answers = flow.mode() == mode::NAT && flow.answered == 0;
    let (from, to) = ends(&if answers { flow.answer() } else { flow.question() });
    if flow.protocol != TCP {
        return frames::udp(link(dice), from, to, &payload(dice));
    }
    let expected = u32::from_be_bytes(flow.expected);
    match answers {
        true => frames::tcp(link(dice), from, to, "SA", b"").sequenced(sequence(dice)),
        false => frames::tcp(link(dice), from, to, "A", b"").acknowledging(expected),
    }
}

fn answer_flags(dice: &mut Dice) -> &'static str {
    if dice.one_in(2) { "SA" } else { flags(dice) }
}

/// What a UDP service is sent: with the connection id of some backend, as QUIC has it, or anything.
fn datagram(dice: &mut Dice, backend: u32) -> Vec<u8> {
    let mut bytes = payload(dice);
    if dice.one_in(3) {
        return bytes;
    }
    let id = world::server_id(backend);
    let first = dice.pick(&[0x00, 0x1f, 0x20, 0xe0]);
    let mut head = if dice.one_in(2) {
        let length = dice.pick(&[0, 1, 8, 16, 20]);
        vec![0xc0 | dice.half() as u8, 0, 0, 0, 1, length, first]
    } else {
        vec![dice.half() as u8 & 0x7f, first]
    };
    head.extend(id);
    head.append(&mut bytes);
    head
}

/// A client that means a service, or a port that nobody has.
fn opening(dice: &mut Dice, model: &Model) -> Frame {
    let service = dice.below(SERVICES as usize) as u32;
    let family = world::family(service);
    let port = match dice.below(16) {
        0 => PROXY_PORT,
        1 => NO_PORT,
        2 | 3 => world::first_of_range(service) + dice.below(34) as u16,
        _ => world::port(service),
    };
    let to = SocketAddr::new(ip(world::vip(service)), port);
    let from = client(dice, family);
    if dice.one_in(3) {
        let backends = model.backends.len().max(MEMBERS);
        let backend = dice.below(backends) as u32;
        return frames::udp(link(dice), from, to, &datagram(dice, backend));
    }
    let flags = if dice.one_in(4) { flags(dice) } else { "S" };
    let bytes = if dice.one_in(3) { payload(dice) } else { Vec::new() };
    let frame = frames::tcp(link(dice), from, to, flags, &bytes).sequenced(sequence(dice));
    if bytes.is_empty() && dice.one_in(3) {
        return frame.with_tcp_options(&mutate::tcp_options(dice));
    }
    frame
}

fn client(dice: &mut Dice, family: usize) -> SocketAddr {
    let address = ip(dice.pick(&CLIENTS[family]));
    SocketAddr::new(address, 40_000 + dice.below(24) as u16)
}

/// An ICMP error about a packet of either end of a flow, or of nobody.
fn error(dice: &mut Dice, flow: Option<Flow>) -> Frame {
    let key = match flow {
        Some(flow) if dice.one_in(2) && flow.mode() == mode::NAT => flow.answer(),
        Some(flow) => flow.question(),
        None => stray_key(dice),
    };
    // The quoted packet went the other way.
    let (to, from) = ends(&key);
    let quoted = if key.protocol == TCP {
        frames::tcp(link(dice), from, to, "A", &dice.bytes(40))
    } else {
        frames::udp(link(dice), from, to, &dice.bytes(40))
    };
    let dst = if dice.one_in(10) { any_address(dice, from.ip()) } else { from.ip() };
    let router = any_address(dice, from.ip());
    let kind = match from.ip() {
        IpAddr::V4(_) => dice.pick(&[[3, 4], [3, 1], [11, 0], [12, 0], [5, 0]]),
        IpAddr::V6(_) => dice.pick(&[[2, 0], [1, 4], [3, 0], [4, 1], [137, 0]]),
    };
    if dice.one_in(2) {
        return frames::icmp_error(link(dice), router, dst, kind, &quoted);
    }
    let header = if from.is_ipv4() { 28 } else { 48 };
    let bytes = header + dice.below(quoted.0.len() - 14 - header);
    too_big(link(dice), [router, dst], dice.half() as u16, &quoted, bytes)
}

fn stray_key(dice: &mut Dice) -> FlowKey {
    let service = dice.below(SERVICES as usize) as u32;
    let from = client(dice, world::family(service));
    FlowKey {
        src: lb_common::abi::Address::of(from.ip()),
        dst: super::scene::address(world::vip(service)),
        src_port: from.port().to_be_bytes(),
        dst_port: dice.pick(&[world::port(service), PROXY_PORT, NO_PORT]).to_be_bytes(),
        protocol: dice.pick(&[6, 17]),
    }
}

fn any_address(dice: &mut Dice, like: IpAddr) -> IpAddr {
    let family = usize::from(like.is_ipv6());
    match dice.below(3) {
        0 => ip(dice.pick(&VIPS[family])),
        1 => ip(dice.pick(&BACKENDS[family])),
        _ => ip(dice.pick(&CLIENTS[family])),
    }
}

/// Any other ICMP message, or a question who has an address.
fn message(dice: &mut Dice) -> Frame {
    let family = dice.below(2);
    let src = any_address(dice, ip(VIPS[family][0]));
    let dst = any_address(dice, src);
    match (dice.below(5), src, dst) {
        (0, ..) => frames::echo_request(link(dice), src, dst),
        (1, ..) => frames::echo_reply(link(dice), src, dst),
        (2, IpAddr::V4(from), IpAddr::V4(target)) => {
            frames::arp_about(dice.pick(&[1, 1, 1, 2]), from, target)
        }
        (2, IpAddr::V6(from), IpAddr::V6(to)) => {
            let target = if dice.one_in(2) { dst } else { any_address(dice, dst) };
            let IpAddr::V6(target) = target else { return frames::arp() };
            frames::solicitation(link(dice), from, to, target)
        }
        _ => {
            let kind =
                [dice.pick(&[0, 1, 3, 5, 8, 13, 128, 129, 133, 135, 255]), dice.half() as u8];
            let length = 4 + dice.below(80);
            frames::icmp(link(dice), src, dst, kind, &dice.bytes(length))
        }
    }
}

/// The RST of a client that was challenged, with the number it was given or another.
fn challenge_answer(dice: &mut Dice, model: &Model) -> Frame {
    let challenging = (0..SERVICES).filter(|id| model.services[*id as usize].challenge != 0);
    let challenging: Vec<u32> = challenging.collect();
    if challenging.is_empty() {
        return stray(dice);
    }
    let service = dice.pick(&challenging);
    let from = client(dice, world::family(service));
    let to = SocketAddr::new(ip(world::vip(service)), world::port(service));
    let key = FlowKey {
        src: lb_common::abi::Address::of(from.ip()),
        dst: lb_common::abi::Address::of(to.ip()),
        src_port: from.port().to_be_bytes(),
        dst_port: to.port().to_be_bytes(),
        protocol: TCP,
    };
    let told = syn_cookie::bake(&key, model.now.get(), model.seed()) as u32;
    let number = if dice.one_in(4) { dice.half() } else { told };
    frames::reset(link(dice), from, to, number, dice.one_in(3).then_some(7))
}

/// What is no business of ours, or nothing that we know.
fn stray(dice: &mut Dice) -> Frame {
    let family = dice.below(2);
    let src = any_address(dice, ip(VIPS[family][0]));
    let dst = any_address(dice, src);
    match dice.below(6) {
        0 => frames::arp(),
        5 => {
            // Little, or nothing, behind its tags.
            let bytes = Frame(dice.bytes(12)).padded(12 + dice.below(10));
            mutate::tag(dice, bytes)
        }
        1 => {
            let length = SHORTEST + dice.below(60);
            Frame(dice.bytes(length))
        }
        2 => {
            // Afterwards, as the library knows some of them and wants more then.
            let (frame, number) = (frames::other_protocol(link(dice), src, dst, 253), dice.half());
            frame.patch(if src.is_ipv4() { 23 } else { 20 }, &[number as u8]).summed()
        }
        _ => {
            let (from, to) = (dice.half() as u16, dice.half() as u16);
            let ends = (SocketAddr::new(src, from), SocketAddr::new(dst, to));
            frames::udp(link(dice), ends.0, ends.1, &dice.bytes(20))
        }
    }
}
