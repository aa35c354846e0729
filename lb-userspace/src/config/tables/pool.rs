//! `load_balancer` and `[pools.name]`: servers, and how to choose among them.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use crate::service::{HealthCheck, Pool, Quic, Server, Strategy, default_server_id};

use super::health_check::health_check;
use crate::config::{
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, List, Report, Value},
        scalar::name,
    },
    values::{address, regions::region},
};

/// A pool whose servers' ports are not all known yet.
pub(crate) struct PoolDraft {
    pub strategy: Option<At<Strategy>>,
    pub servers: List<ServerDraft>,
    pub health_check: Option<HealthCheck>,
}

pub(crate) struct ServerDraft {
    pub address: At<IpAddr>,
    /// `None`: the service's `internal_port`.
    port: Option<NonZeroU16>,
    weight: u16,
    drain: bool,
    pub region: Option<At<Arc<str>>>,
    instance: Option<Arc<str>>,
    pub server_id: Option<At<Arc<[u8]>>>,
}

/// Where servers without a port of their own listen.
#[derive(Clone, Copy)]
pub(crate) struct Listening {
    pub internal_port: Option<NonZeroU16>,
    /// The port without an `internal_port`; see `ServiceDraft::asked_port`.
    pub asked: Option<u16>,
}

pub(crate) fn pool(value: Value<'_>) -> Option<PoolDraft> {
    value.section(|pool| {
        let strategy = pool.optional("strategy", strategy);
        let example = r#"servers = [{ address = "10.0.0.11:8080" }]"#;
        let servers = pool.required("servers", example, servers);
        let health_check = pool.optional("health_check", health_check);
        // A key of Traefik's that holds a response back for a while. Here no response is held back.
        pool.optional("response_forwarding", |it| {
            it.section(|forwarding| forwarding.optional("flush_interval", |_| Some(())))
        });
        pool.unsupported("sticky", "choose by `strategy`");
        pool.unsupported("pass_host_header", "`Host` is always passed on");
        pool.unsupported("servers_transport", "servers are reached by plain HTTP/1.1 or TCP");
        Some(PoolDraft { strategy, servers: servers?, health_check })
    })
}

fn strategy(value: Value<'_>) -> Option<At<Strategy>> {
    let names = [&Strategy::NAMED[..], &Strategy::ALSO_NAMED].concat();
    Some(value.at(value.choice(&names, &[])?))
}

fn servers(value: Value<'_>) -> Option<List<ServerDraft>> {
    let servers = value.non_empty_list("a service needs at least one server", server)?;
    let is_idle = |server: &ServerDraft| server.weight == 0 || server.drain;
    if servers.whole && servers.items.iter().all(|server| is_idle(&server.value)) {
        let message = "every server has weight 0 or drains, so none takes anything new";
        return value.refuse(message, "give at least one of them a weight and no `drain`");
    }
    Some(servers)
}

fn server(value: Value<'_>) -> Option<ServerDraft> {
    value.section(|server| {
        let address = server.required("address", r#"address = "10.0.0.11:8080""#, |it| {
            let (ip, port) = address::server(it)?;
            Some((it.at(ip), port))
        });
        let weight = server.optional("weight", |it| it.number(0..=u16::MAX));
        let drain = server.optional("drain", Value::boolean).unwrap_or(false);
        let server_id = server.optional("server_id", server_id);
        let region = server.optional("region", region);
        let instance = server.optional("instance", name);
        let (address, port) = address?;
        let weight = weight.unwrap_or(1);
        Some(ServerDraft { address, port, weight, drain, region, instance, server_id })
    })
}

/// Reads hexadecimal digits, two per byte.
fn server_id(value: Value<'_>) -> Option<At<Arc<[u8]>>> {
    let text = value.text()?;
    let digits = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8));
    let digits = digits.collect::<Option<Vec<u8>>>().filter(|it| it.len().is_multiple_of(2));
    match digits.filter(|digits| (2..=30).contains(&digits.len())) {
        Some(digits) => Some(value.at(digits.chunks(2).map(|it| it[0] << 4 | it[1]).collect())),
        None => value.refuse(
            format!("`{text}` is not a server id"),
            "write 1 to 15 bytes, each of two hexadecimal digits: \"0a4f\"",
        ),
    }
}

impl PoolDraft {
    /// Returns the pool for a service whose servers listen there.
    pub(crate) fn resolve(
        &self,
        listening: Listening,
        quic: Option<Quic>,
        user: &Span,
        report: &Report,
    ) -> Option<Pool> {
        let drafts = self.servers.items.iter().map(|draft| &draft.value);
        let servers: Vec<_> =
            drafts.filter_map(|draft| draft.resolve(listening, quic, user, report)).collect();
        report.refuse_repeats("server", &self.placed(listening));
        Some(Pool {
            strategy: self.strategy.as_ref().map_or(Strategy::P2c, |it| it.value),
            servers,
            health_check: self.health_check.clone(),
        })
    }

    fn placed(&self, listening: Listening) -> Vec<At<SocketAddr>> {
        let drafts = self.servers.items.iter().map(|draft| &draft.value);
        drafts
            .filter_map(|draft| {
                Some(At { value: draft.socket(listening)?, span: draft.address.span.clone() })
            })
            .collect()
    }
}

impl ServerDraft {
    pub(crate) fn socket(&self, listening: Listening) -> Option<SocketAddr> {
        let own = self.port.or(listening.internal_port).map(NonZeroU16::get);
        Some(SocketAddr::new(self.address.value, own.or(listening.asked)?))
    }

    fn resolve(
        &self,
        listening: Listening,
        quic: Option<Quic>,
        user: &Span,
        report: &Report,
    ) -> Option<Server> {
        let Some(address) = self.socket(listening) else {
            self.refuse_portless(user, report);
            return None;
        };
        Some(Server {
            address,
            weight: self.weight,
            drain: self.drain,
            region: self.region.as_ref().map(|it| it.value.clone()),
            instance: self.instance.clone(),
            server_id: quic.map(|quic| self.quic_id(address, quic)),
        })
    }

    pub(crate) fn quic_id(&self, address: SocketAddr, quic: Quic) -> Arc<[u8]> {
        let given = self.server_id.as_ref().map(|it| it.value.clone());
        given.unwrap_or_else(|| default_server_id(address, quic.server_id_length).into())
    }

    fn refuse_portless(&self, user: &Span, report: &Report) {
        let ip = self.address.value;
        let example = SocketAddr::new(ip, 8080);
        let message = format!("server `{ip}` has no port, and its service no `internal_port`");
        report.push(
            Diagnostic::new(self.address.span.clone(), message)
                .related(user.clone(), "used by this service")
                .help(format!("write \"{example}\", or add `internal_port = 8080` to the service")),
        );
    }
}
