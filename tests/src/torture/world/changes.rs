//! What may change.

use std::collections::BTreeMap;

use super::{
    pool::Pool,
    service::Service,
    whole::{CERTIFICATES, World},
};
use crate::{
    dice::Dice,
    torture::names::{HOST, HTTP, HTTPS},
};

/// Services that are there for the sake of coming and going, at the most.
const ADDED: usize = 6;
/// Their ports begin here.
const FIRST_PORT: u16 = 9100;
/// Services that are picked until one can change in that way.
const TRIES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::torture) enum Change {
    Members,
    Weight,
    Drain,
    Services,
    Strategy,
    Timeouts,
    Limits,
    Hostnames,
    Certificates,
    Checks,
    Interfaces,
    Renaming,
}

impl Change {
    const ALL: [Self; 15] = [
        Self::Members,
        Self::Members,
        Self::Members,
        Self::Weight,
        Self::Drain,
        Self::Services,
        Self::Services,
        Self::Strategy,
        Self::Timeouts,
        Self::Limits,
        Self::Hostnames,
        Self::Certificates,
        Self::Checks,
        Self::Interfaces,
        Self::Renaming,
    ];

    /// Changes something, whatever it is: the text is another one afterwards.
    pub(in crate::torture) fn any(world: &mut World, dice: &mut Dice) -> Self {
        let before = world.toml();
        loop {
            let change = dice.pick(&Self::ALL);
            for _ in 0..TRIES {
                change.make(world, dice);
                if world.toml() != before {
                    return change;
                }
            }
        }
    }

    fn make(self, world: &mut World, dice: &mut Dice) {
        let place = dice.below(world.services.len());
        let service = &mut world.services[place];
        match self {
            Self::Members => service.pool.change_members(dice),
            Self::Weight => service.pool.change_weight(dice),
            Self::Drain => service.pool.change_drain(dice),
            Self::Services => add_or_remove(world, dice),
            Self::Strategy => strategy(service, dice),
            Self::Timeouts => timeouts(world, place, dice),
            Self::Limits => limits(service, dice),
            Self::Hostnames => hostnames(service, dice),
            Self::Certificates => {
                world.certificates = match dice.below(3) {
                    both if both == CERTIFICATES.len() => (0..CERTIFICATES.len()).collect(),
                    one => vec![one],
                };
            }
            Self::Checks => checks(service, dice),
            Self::Interfaces => world.uplink = !world.uplink,
            // One goes and another comes, for the same ports. A steered one takes its flows along.
            Self::Renaming if service.is_steered() => {}
            Self::Renaming => {
                world.added += 1;
                let stem = service.name.split('_').next().unwrap_or_default();
                service.name = format!("{stem}_{}", world.added);
            }
        }
    }
}

fn add_or_remove(world: &mut World, dice: &mut Dice) {
    let own: Vec<_> = (0..world.services.len())
        .filter(|&place| world.services[place].name.starts_with("added"))
        .collect();
    if own.len() == ADDED || !own.is_empty() && dice.one_in(2) {
        world.services.remove(dice.pick(&own));
        return;
    }
    world.added += 1;
    let number = world.added;
    let port = FIRST_PORT + (number % 500) as u16;
    let echoes = &world.echoes;
    let (protocol, ports, known, hostnames) = match dice.below(5) {
        0 => ("tcp", format!("port = {port}"), &echoes.tcp, vec![]),
        1 => ("udp", format!("port = {port}"), &echoes.udp, vec![]),
        2 => ("tcp", format!("port = {port}, handlers = [\"http\"]"), &echoes.http, vec![]),
        kind => {
            let tls = "tls_options = { default_self_signed = true }";
            let ports = match kind {
                3 => format!("port = {HTTP}, handlers = [\"http\"]"),
                _ => format!("port = {HTTPS}, handlers = [\"tls\", \"http\"], {tls}"),
            };
            ("tcp", ports, &echoes.http, vec![format!("added-{number}.example.test")])
        }
    };
    let (name, pool) = (format!("added-{number}"), Pool::of(known, &[]));
    let ports = vec![ports];
    let place = dice.below(world.services.len() + 1);
    let keys = BTreeMap::new();
    world.services.insert(place, Service { name, protocol, ports, hostnames, pool, keys });
}

fn strategy(service: &mut Service, dice: &mut Dice) {
    let all = match service.is_steered() {
        true => &["\"maglev\"", "\"least_conn\"", "\"wrr\"", "\"random\"", "\"p2c\""][..],
        false => {
            &["\"p2c\"", "\"peak_ewma\"", "\"least_conn\"", "\"wrr\"", "\"random\"", "\"maglev\""]
        }
    };
    service.set("load_balancer.strategy", Some(dice.pick(all)));
}

/// Long enough for all that the traffic does.
fn timeouts(world: &mut World, place: usize, dice: &mut Dice) {
    let long = dice.pick(&["\"30s\"", "\"45s\"", "\"90s\""]);
    let key = dice.pick(&[
        "handshake_timeout",
        "header_timeout",
        "idle_timeout",
        "keepalive_time",
        "request_timeout",
        "dial_timeout",
        "response_header_timeout",
        "upstream_idle_timeout",
        "max_idle_per_backend",
        "flow_timeouts",
        "of a service",
    ]);
    match key {
        "max_idle_per_backend" => {
            world.proxy.insert(key, dice.pick(&["0", "4", "32"]).to_owned());
        }
        "flow_timeouts" => {
            world.node.insert(key, format!("{{ established = {long} }}"));
        }
        "of a service" if world.services[place].is_steered() => {
            // Not what the node may say, or nothing would change.
            let own = dice.pick(&["\"31s\"", "\"46s\"", "\"91s\""]);
            world.services[place].set("flow_timeouts.established", Some(own));
        }
        "of a service" => {}
        key => {
            world.proxy.insert(key, long.to_owned());
        }
    }
}

/// Far above what the traffic needs.
fn limits(service: &mut Service, dice: &mut Dice) {
    let at = dice.pick(&["500", "1000", "2000"]);
    let counted = if service.speaks_http() { "requests" } else { "connections" };
    let concurrency = format!("{{ type = \"{counted}\", soft_limit = {at}, hard_limit = 4000 }}");
    match (dice.below(4), service.is_steered()) {
        (0, _) => service.set("concurrency", Some(&concurrency)),
        (1, _) => service.set("concurrency", None),
        (2, false) => {
            service.set("limits", Some(&format!("{{ soft_limit = {at}, hard_limit = 4000 }}")));
        }
        (2, true) => {
            service.set("rate_limit", Some(&format!("{{ per_service = {{ rate = {at} }} }}")));
        }
        (_, false) => service.set("queue", Some(&format!("{{ length = {at}, timeout = '20s' }}"))),
        (_, true) => service.set(
            "allow",
            Some(dice.pick(&["['10.0.0.0/8', 'fd00::/8']", "['0.0.0.0/0', '::/0']"])),
        ),
    }
}

/// The traffic's own name, other ones beside it, or every name.
fn hostnames(service: &mut Service, dice: &mut Dice) {
    if service.speaks_http() && !service.name.starts_with("added") {
        let more = format!("more-{}.example.test", dice.below(1000));
        service.hostnames = match dice.below(3) {
            0 => Vec::new(),
            1 => vec![HOST.to_owned()],
            _ => vec![more, HOST.to_owned()],
        };
    }
}

fn checks(service: &mut Service, dice: &mut Dice) {
    let interval = dice.pick(&["1s", "3s"]);
    let is_iperf = service.is_steered() && !service.name.starts_with("added");
    let check = match (service.speaks_http(), is_iperf || service.protocol == "udp") {
        (true, _) => format!("{{ path = \"/healthz\", interval = \"{interval}\" }}"),
        // Its server takes one client at a time.
        (_, true) => return,
        _ => format!("{{ mode = \"tcp\", interval = \"{interval}\" }}"),
    };
    let value = dice.one_in(3).then_some(check);
    service.set("load_balancer.health_check", value.as_deref());
}
