//! Checks of combinations of forwarding, limits and defences.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::service::{ConcurrencyKind, Handler, MssClamp, OnBackendDown, Protocol, Strategy};

use super::family::family;
use crate::config::{
    tables::{
        pool::PoolDraft,
        port::PortDraft,
        service::{PoolChoice, ServiceDraft},
    },
    text::{
        diagnostic::{Diagnostic, Span},
        reader::Report,
    },
};

/// Every IPv6 link carries at least this much (RFC 8200, 5).
const LEAST_V6_MTU: u16 = 1280;

pub(crate) fn check(service: &ServiceDraft<'_>, pool: Option<&PoolDraft>, report: &Report) {
    refuse_unsteered(service, report);
    refuse_requests(service, report);
    refuse_wrong_protocol(service, report);
    refuse_useless_server_ids(service, report);
    refuse_latencies(service, pool, report);
    let Some(pool) = pool.filter(|pool| pool.servers.whole) else {
        return;
    };
    refuse_changed_ports(service, pool, report);
    refuse_missing_families(service, pool, report);
    refuse_small_mtu(service, pool, report);
    refuse_portless_checks(service, pool, report);
    refuse_server_ids(service, pool, report);
}

fn refuse_unsteered(service: &ServiceDraft<'_>, report: &Report) {
    if !service.ports.whole || service.steered().next().is_some() {
        return;
    }
    for (key, span) in &service.steering.keys {
        let message = format!("`{key}` on a service whose ports all have handlers");
        let help = "it acts on packets of ports without handlers, which the kernel steers";
        report.push(Diagnostic::new(span.clone(), message).help(help));
    }
}

/// The kernel cannot measure the latency of answers.
fn refuse_latencies(service: &ServiceDraft<'_>, pool: Option<&PoolDraft>, report: &Report) {
    let strategy = pool.and_then(|pool| pool.strategy.as_ref());
    if let Some(strategy) = strategy.filter(|it| it.value == Strategy::PeakEwma)
        && service.steered().next().is_some()
    {
        let message = "`peak_ewma` where ports have no handlers: only the proxy measures answers";
        let help = r#"write "p2c", which compares connections alone"#;
        report.push(Diagnostic::new(strategy.span.clone(), message).help(help));
    }
}

fn refuse_requests(service: &ServiceDraft<'_>, report: &Report) {
    let kind = service.concurrency.as_ref().and_then(|it| it.value.kind.as_ref());
    let mut ports = service.ports.items.iter().map(|item| &item.value.port);
    if let Some(kind) = kind.filter(|kind| kind.value == ConcurrencyKind::Requests)
        && service.ports.whole
        && !ports.any(|port| port.has(Handler::Http))
    {
        let message = "`requests` where no port has the `http` handler: none are seen there";
        let help = r#"write "connections""#;
        report.push(Diagnostic::new(kind.span.clone(), message).help(help));
    }
}

/// Refuses keys that have a meaning for the other protocol only.
fn refuse_wrong_protocol(service: &ServiceDraft<'_>, report: &Report) {
    let draft = &service.steering;
    let refuse = |span: &Span, message: &str, help: &str| {
        report.push(Diagnostic::new(span.clone(), message).help(help));
    };
    match service.protocol {
        Some(Protocol::Tcp) => {
            if let Some(quic) = &draft.quic {
                let help = r#"QUIC is UDP: write `protocol = "udp"`"#;
                refuse(&quic.span, "`quic` on a TCP service", help);
            }
        }
        Some(Protocol::Udp) => {
            if let Some(flood) = &draft.syn_flood {
                let help = "limit new flows of UDP by `rate_limit`";
                refuse(&flood.span, "`syn_flood` on a UDP service: there are no SYNs", help);
            }
            let clamp = draft.mss_clamp.as_ref().filter(|it| it.value != MssClamp::Off);
            if let Some(clamp) = clamp {
                let help = "remove it: only TCP has a maximum segment size";
                refuse(&clamp.span, "`mss_clamp` on a UDP service", help);
            }
            let down = draft.on_backend_down.as_ref();
            if let Some(down) = down.filter(|it| it.value == OnBackendDown::Reset) {
                let help = r#"write "move", which is what UDP flows always do"#;
                refuse(&down.span, "UDP flows cannot be reset", help);
            }
        }
        None => {}
    }
}

/// Only NAT rewrites ports.
fn refuse_changed_ports(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let (Some(key), Some(listening)) = (&service.steering.forwarding, service.listening()) else {
        return;
    };
    if !key.value.is_direct() {
        return;
    }
    for server in &pool.servers.items {
        let Some(socket) = server.value.socket(listening).filter(|socket| socket.port() != 0)
        else {
            continue;
        };
        let keeps = |port: &&PortDraft| port.is_range() || port.port.port.get() != socket.port();
        if let Some(port) = service.steered().find(keeps) {
            let message = format!(
                "`{}` keeps the port that the client asked for, and this server listens on {}",
                key.value.name(),
                socket.port()
            );
            report.push(
                Diagnostic::new(server.value.address.span.clone(), message)
                    .related(port.number.clone(), "the port that clients ask for")
                    .help(format!("write \"{}\" without a port, or use \"nat\"", socket.ip())),
            );
        }
    }
}

/// Only tunnels carry packets of one family to backends of the other.
fn refuse_missing_families(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let Some(port) = service.steered().next().filter(|_| !service.forwarding().is_tunnel()) else {
        return;
    };
    for address in &service.addresses {
        let mut servers = pool.servers.items.iter().map(|it| it.value.address.value);
        if servers.any(|server| server.is_ipv4() == address.value.is_ipv4()) {
            continue;
        }
        let family = family(address.value);
        let number = port.port.port;
        let message = format!("no server has an {family} address to steer port {number} to");
        report.push(
            Diagnostic::new(address.span.clone(), message)
                .related(port.number.clone(), "a port without handlers")
                .help(format!(
                    "add an {family} server or remove the address: only \"ipip\" and \"gue\" \
                     carry packets to servers of the other family"
                )),
        );
    }
}

/// Refuses an `mtu` that leaves too little for IPv6 within a tunnel.
fn refuse_small_mtu(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let Some(mtu) = &service.steering.mtu else { return };
    if service.addresses.iter().all(|address| address.value.is_ipv4()) {
        return;
    }
    let servers = pool.servers.items.iter().map(|it| it.value.address.value);
    let overhead = servers.map(|server| service.forwarding().overhead(server.is_ipv4()));
    let least = LEAST_V6_MTU + overhead.max().unwrap_or(0);
    if mtu.value < least {
        let message = format!("an `mtu` of {} is too small for IPv6", mtu.value);
        let help = format!(
            "write at least {least}: IPv6 needs {LEAST_V6_MTU}, and `{}` adds its headers",
            service.forwarding().name()
        );
        report.push(Diagnostic::new(mtu.span.clone(), message).help(help));
    }
}

/// If servers listen on many ports, a health check must name one.
fn refuse_portless_checks(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let Some(listening) = service.listening() else { return };
    if pool.health_check.as_ref().is_none_or(|check| check.port.is_some()) {
        return;
    }
    let mut servers = pool.servers.items.iter().map(|it| &it.value);
    let portless = |server: &&_| -> bool {
        let server: &crate::config::tables::pool::ServerDraft = server;
        server.socket(listening).is_some_and(|socket| socket.port() == 0)
    };
    if let Some(server) = servers.find(portless) {
        let ip = server.address.value;
        let message = format!("server `{ip}` listens on many ports: which one is to be checked?");
        report.push(
            Diagnostic::new(server.address.span.clone(), message)
                .help("add `port` to `health_check`"),
        );
    }
}

fn refuse_useless_server_ids(service: &ServiceDraft<'_>, report: &Report) {
    if service.quic().is_some() {
        return;
    }
    // A named pool may serve a QUIC service beside this one.
    let Some(PoolChoice::Inline(pool)) = &service.pool else {
        return;
    };
    for id in pool.servers.items.iter().filter_map(|it| it.value.server_id.as_ref()) {
        let message = "`server_id` in a service without `quic`";
        let help = "add `quic = { connection_ids = \"plain\" }` to the service, or remove it";
        report.push(Diagnostic::new(id.span.clone(), message).help(help));
    }
}

/// Checks that ids have the length that `quic` says, and that no two servers have the same.
fn refuse_server_ids(service: &ServiceDraft<'_>, pool: &PoolDraft, report: &Report) {
    let (Some(quic), Some(listening)) = (service.quic(), service.listening()) else {
        return;
    };
    let length = usize::from(quic.server_id_length);
    let mut owners: HashMap<Arc<[u8]>, (Span, IpAddr)> = HashMap::new();
    for server in pool.servers.items.iter().map(|it| &it.value) {
        let Some(socket) = server.socket(listening) else { continue };
        if let Some(given) = server.server_id.as_ref().filter(|it| it.value.len() != length) {
            let message = format!("a `server_id` of {} bytes", given.value.len());
            let help = format!("`quic.server_id_length` says {length}");
            report.push(Diagnostic::new(given.span.clone(), message).help(help));
            continue;
        }
        let span = &server.address.span;
        let owner = (span.clone(), socket.ip());
        let Some((first, other)) = owners.insert(server.quic_id(socket, quic), owner) else {
            continue;
        };
        let message = format!("`{}` and `{other}` have the same QUIC server id", socket.ip());
        report.push(
            Diagnostic::new(span.clone(), message)
                .related(first, "the other one")
                .help("give one of them another `server_id`, or raise `quic.server_id_length`"),
        );
    }
}
