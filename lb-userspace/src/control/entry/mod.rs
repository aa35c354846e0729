//! Converts a service and its servers to the kernel's entries.

use std::{net::IpAddr, time::Duration};

use lb_common::abi::{self, Address, Prefixes, mode, service_flags, status, strategy};

use super::family::AddressFamily;
use crate::{
    fleet::Backend,
    service::{
        Forwarding, MssClamp, OnBackendDown, Rate, Service, SourcePrefix, Steering, Strategy,
        UnknownFlows,
    },
    settings::Encap,
    tables::Source,
};

/// The MTU of a link, by default (RFC 894).
const USUAL_MTU: u16 = 1500;
/// The largest [`abi::Backend::spread`].
const MOST_SPREAD: u16 = 32;
/// The size of a TCP header without options and the IPv4 header before it.
const V4_HEADERS: u16 = 40;
const V6_HEADERS: u16 = 60;
/// The longest tick of the kernel's coarse clock, in ns, at 100 Hz. Everything within a tick has
/// the same time for the kernel.
const TICK: u64 = 10_000_000;

/// Returns the entry of one family of a service.
pub(crate) fn service(service: &Service, family: AddressFamily) -> abi::Service {
    let steering = &service.steering;
    let per_source = steering.rate_limits.per_source;
    let (source_interval, source_burst) = bucket(per_source.map(|it| it.rate));
    let (service_interval, service_burst) = bucket(steering.rate_limits.per_service);
    let affinity = steering.affinity;
    abi::Service {
        affinity: affinity.map_or(0, |it| nanos(it.timeout)),
        source_interval,
        source_burst,
        service_interval,
        service_burst,
        remember: steering.syn_flood.map_or(0, |it| nanos(it.remember)),
        challenge: steering.syn_flood.map_or(0, |it| it.threshold),
        strategy: strategy_of(steering.strategy),
        mode: mode_of(steering.forwarding),
        flags: flags(steering),
        mss: mss(service, family).into(),
        affinity_prefix: prefixes(affinity.map(|it| it.source)),
        source_prefix: prefixes(per_source.map(|it| it.source)),
        server_id_length: steering.quic.map_or(0, |it| it.server_id_length.into()),
    }
}

/// Returns the entry of a server whose packets carry `source`, unless outer headers say otherwise.
pub(crate) fn backend(
    backend: &Backend,
    steering: &Steering,
    source: Source,
    encap: &Encap,
) -> abi::Backend {
    let server = &backend.server;
    let address = server.address.ip();
    let port = match steering.forwarding {
        Forwarding::Gue => encap.gue_port,
        _ => server.address.port(),
    };
    let (outer, spread) = match steering.forwarding {
        Forwarding::Ipip => outer_source(address, encap),
        _ => (source.address, 0),
    };
    let (pool, sources, ends) = match steering.forwarding {
        Forwarding::Nat => (source.pool, source.count, source.ends),
        _ => (0, 0, 0),
    };
    let limit = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
    abi::Backend {
        address: Address::of(address),
        source: Address::of(outer),
        port: port.to_be_bytes(),
        spread,
        load: backend.slot.0,
        weight: server.weight.into(),
        soft_limit: limit(steering.limits.soft),
        hard_limit: limit(steering.limits.hard),
        mtu: steering.mtu.unwrap_or(0).into(),
        pool,
        sources,
        ends,
        pad: 0,
    }
}

/// Returns the first outer source address of IP in IP, and how many of the last bits vary by flow.
fn outer_source(backend: IpAddr, encap: &Encap) -> (IpAddr, u16) {
    let prefix = if backend.is_ipv4() { encap.source_v4 } else { encap.source_v6 };
    let free = prefix.max_prefix_len() - prefix.prefix_len();
    (prefix.network(), u16::from(free).min(MOST_SPREAD))
}

pub(crate) fn status_of(backend: &Backend) -> u32 {
    match (backend.is_up() && !backend.is_expelled(), backend.is_draining()) {
        (false, _) => status::GONE,
        (true, true) => status::LEAVING,
        (true, false) => status::HERE,
    }
}

pub(crate) fn strategy_of(strategy: Strategy) -> u32 {
    match strategy {
        Strategy::Maglev => strategy::MAGLEV,
        // The kernel does not measure latency; the configuration rejects this for steered ports.
        Strategy::P2c | Strategy::PeakEwma => strategy::P2C,
        Strategy::LeastConn => strategy::LEAST_CONN,
        Strategy::Wrr => strategy::WRR,
        Strategy::Random => strategy::RANDOM,
    }
}

/// Returns the kernel tables' word for a forwarding mode.
#[must_use]
pub fn mode_of(forwarding: Forwarding) -> u32 {
    match forwarding {
        Forwarding::Nat => mode::NAT,
        Forwarding::L2 => mode::L2,
        Forwarding::Ipip => mode::IPIP,
        Forwarding::Gue => mode::GUE,
    }
}

fn flags(steering: &Steering) -> u32 {
    let limited = steering.limits.soft.is_some() || steering.limits.hard.is_some();
    let access = &steering.access;
    let tells_unknown =
        steering.forwarding == Forwarding::Nat && steering.unknown_flows == UnknownFlows::Reset;
    [
        (steering.on_backend_down == OnBackendDown::Move, service_flags::MOVE),
        (limited, service_flags::LIMITED),
        (!access.is_open(), service_flags::LISTED),
        (!access.allow.is_empty(), service_flags::DENY_OTHERS),
        (tells_unknown, service_flags::RESET_UNKNOWN),
    ]
    .into_iter()
    .filter_map(|(is_so, flag)| is_so.then_some(flag))
    .sum()
}

/// Converts a token bucket to the interval between flows and the tolerance for early ones (GCRA).
fn bucket(rate: Option<Rate>) -> (u64, u64) {
    let Some(Rate { rate, burst }) = rate else { return (0, 0) };
    let interval = (1_000_000_000 / u64::from(rate)).max(1);
    (interval, (interval * u64::from(burst - 1)).max(TICK))
}

/// Returns the largest segment that fits `mtu` with all headers around it.
fn mss(service: &Service, family: AddressFamily) -> u16 {
    let steering = &service.steering;
    match steering.mss_clamp {
        MssClamp::Off => 0,
        MssClamp::To(mss) => mss,
        MssClamp::ToMtu => {
            let headers = match family {
                AddressFamily::V4 => V4_HEADERS,
                AddressFamily::V6 => V6_HEADERS,
            };
            let servers = service.pool.servers.iter().map(|it| it.address.is_ipv4());
            let tunnel = servers.map(|is_ipv4| steering.forwarding.overhead(is_ipv4)).max();
            let around = headers + tunnel.unwrap_or(0);
            steering.mtu.unwrap_or(USUAL_MTU).saturating_sub(around).max(1)
        }
    }
}

fn prefixes(source: Option<SourcePrefix>) -> Prefixes {
    source.map_or(Prefixes::default(), |source| Prefixes { v4: source.v4, v6: source.v6, pad: 0 })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
