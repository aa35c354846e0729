//! `load_balancer` and `[pools.name]`: servers and how to choose among them.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use crate::service::{HealthCheck, Pool, Server, Strategy};

use super::{
    address,
    diagnostic::{Diagnostic, Span},
    health::health_check,
    reader::{At, List, Report, Value},
    scalar::name,
};

/// A pool before it is known which port its servers listen on.
pub(super) struct PoolDraft {
    pub strategy: Option<At<Strategy>>,
    pub servers: List<ServerDraft>,
    health_check: Option<HealthCheck>,
}

pub(super) struct ServerDraft {
    pub address: At<IpAddr>,
    /// `None`: the service's `internal_port`.
    port: Option<NonZeroU16>,
    weight: u16,
    region: Option<Arc<str>>,
    instance: Option<Arc<str>>,
}

pub(super) fn pool(value: Value<'_>) -> Option<PoolDraft> {
    value.section(|pool| {
        let strategy = pool.optional("strategy", strategy);
        let example = r#"servers = [{ address = "10.0.0.11:8080" }]"#;
        let servers = pool.required("servers", example, servers);
        let health_check = pool.optional("health_check", health_check);
        pool.not_yet("sticky", "choose by `strategy`");
        pool.not_yet("pass_host_header", "`Host` is always passed on");
        pool.not_yet("servers_transport", "servers are reached by plain HTTP/1.1 or TCP");
        Some(PoolDraft { strategy, servers: servers?, health_check })
    })
}

fn strategy(value: Value<'_>) -> Option<At<Strategy>> {
    let known = [("p2c", Strategy::P2c), ("maglev", Strategy::Maglev)];
    let strategy = value.choice(&known, &["wrr", "least_conn", "random"])?;
    Some(value.at(strategy))
}

fn servers(value: Value<'_>) -> Option<List<ServerDraft>> {
    let servers = value.some_list("a service needs at least one server", server)?;
    if servers.whole && servers.items.iter().all(|server| server.value.weight == 0) {
        let message = "every server has weight 0, so none takes anything new";
        return value.refuse(message, "give at least one of them a weight");
    }
    Some(servers)
}

fn server(value: Value<'_>) -> Option<ServerDraft> {
    value.section(|server| {
        let address = server.required("address", r#"address = "10.0.0.11:8080""#, |it| {
            let (ip, port) = address::server(it)?;
            Some((it.at(ip), port))
        });
        let weight = server.optional("weight", |it| it.number(0..=1000_u16));
        let region = server.optional("region", name);
        let instance = server.optional("instance", name);
        let (address, port) = address?;
        Some(ServerDraft { address, port, weight: weight.unwrap_or(1), region, instance })
    })
}

impl PoolDraft {
    /// The pool as a service with `internal_port` uses it.
    pub(super) fn resolve(
        &self,
        internal_port: Option<NonZeroU16>,
        user: &Span,
        report: &Report,
    ) -> Option<Pool> {
        let drafts = self.servers.items.iter().map(|draft| &draft.value);
        let servers: Vec<_> =
            drafts.filter_map(|draft| draft.resolve(internal_port, user, report)).collect();
        report.refuse_repeats("server", &self.placed(internal_port));
        Some(Pool {
            strategy: self.strategy.as_ref().map_or(Strategy::P2c, |it| it.value),
            servers,
            health_check: self.health_check.clone(),
        })
    }

    fn placed(&self, internal_port: Option<NonZeroU16>) -> Vec<At<SocketAddr>> {
        let drafts = self.servers.items.iter().map(|draft| &draft.value);
        drafts
            .filter_map(|draft| {
                Some(At { value: draft.socket(internal_port)?, span: draft.address.span.clone() })
            })
            .collect()
    }
}

impl ServerDraft {
    fn socket(&self, internal_port: Option<NonZeroU16>) -> Option<SocketAddr> {
        let port = self.port.or(internal_port)?;
        Some(SocketAddr::new(self.address.value, port.get()))
    }

    fn resolve(
        &self,
        internal_port: Option<NonZeroU16>,
        user: &Span,
        report: &Report,
    ) -> Option<Server> {
        let Some(address) = self.socket(internal_port) else {
            self.refuse_portless(user, report);
            return None;
        };
        Some(Server {
            address,
            weight: self.weight,
            region: self.region.clone(),
            instance: self.instance.clone(),
        })
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
