//! `[[services]]`: read into drafts, which know where their parts are written.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16, path::Path as FilePath, sync::Arc};

use crate::service::{
    Concurrency, ConcurrencyKind, Forwarding, Limits, OnBackendDown, Path, Private, Protocol,
    Queue, Quic, Service, ServiceLimits, Steering, Strategy,
};

use super::{
    node::{ServiceDefaults, interfaces},
    pool::{Listening, PoolDraft, pool},
    port::{PortDraft, port},
    steering::{SteeringDraft, steering},
};
use crate::config::{
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, List, Report, Value},
        scalar,
        section::Section,
    },
    values::{
        address,
        hostname::hostname,
        limits::{limits, queue},
        network::networks,
    },
};

/// A service whose valid parts were read.
pub(crate) struct ServiceDraft<'a> {
    /// The header, or the whole of an inline table.
    pub span: Span,
    pub name: Option<At<Arc<str>>>,
    /// `None`: not a protocol.
    pub protocol: Option<Protocol>,
    pub addresses: Vec<At<IpAddr>>,
    /// `None`: not written, so every name.
    pub hostnames: Option<Vec<At<Arc<str>>>>,
    pub hostnames_key: Option<Span>,
    /// Outer `None`: not a port. Inner `None`: not written.
    pub internal_port: Option<Option<NonZeroU16>>,
    pub ports: List<PortDraft>,
    pub private: Option<At<Private>>,
    pub steering: SteeringDraft,
    pub concurrency: Option<At<ConcurrencyDraft>>,
    pub limits: Option<At<ServiceLimits>>,
    pub queue: Option<At<Queue>>,
    pub pool: Option<PoolChoice<'a>>,
}

pub(crate) struct ConcurrencyDraft {
    value: Concurrency,
    /// What was written: the kernel has no default.
    limits: Limits,
    pub kind: Option<At<ConcurrencyKind>>,
}

pub(crate) enum PoolChoice<'a> {
    Inline(PoolDraft),
    Named(At<&'a str>),
}

pub(crate) type Pools<'a> = BTreeMap<&'a str, Option<PoolDraft>>;

/// Reads a service. Relative paths are relative to `directory`.
pub(crate) fn draft<'a>(value: Value<'a>, directory: &FilePath) -> Option<ServiceDraft<'a>> {
    value.section(|service| {
        let name = service.required("name", r#"name = "web""#, |it| Some(it.at(scalar::name(it)?)));
        let protocol = service.optional("protocol", protocol);
        let addresses = service.required("addresses", r#"addresses = ["203.0.113.10"]"#, |it| {
            it.non_empty_list("name the address that clients reach", address::anycast)
        });
        let hostnames = service.optional("hostnames", |it| {
            it.non_empty_list("leave it out for a service that takes every name", hostname)
        });
        let internal_port = service.optional("internal_port", scalar::port);
        let ports = service.required("ports", "ports = [{ port = 443 }]", |it| {
            it.non_empty_list("name the port that clients reach", |it| port(it, directory))
        });
        let private = service.optional("private", private);
        let steering = steering(service);
        let concurrency = service.optional("concurrency", concurrency);
        let limits = service.optional("limits", limits);
        let queue = service.optional("queue", queue);
        let pool = pool_choice(service);
        Some(ServiceDraft {
            span: service.span(),
            name,
            protocol: or_default(service, "protocol", protocol, Protocol::Tcp),
            addresses: addresses.map_or_else(Vec::new, |list| list.items),
            hostnames_key: service.key_span("hostnames"),
            hostnames: match service.has("hostnames") {
                true => Some(hostnames.map_or_else(Vec::new, |list| list.items)),
                false => None,
            },
            internal_port: or_default(service, "internal_port", internal_port.map(Some), None),
            ports: ports.unwrap_or(List { items: Vec::new(), whole: false }),
            private,
            steering,
            concurrency,
            limits,
            queue,
            pool,
        })
    })
}

/// Returns the default only if the key is absent: a guess in place of a mistake would cause further
/// mistakes.
fn or_default<T>(service: &Section<'_>, key: &str, read: Option<T>, default: T) -> Option<T> {
    match service.has(key) {
        true => read,
        false => Some(default),
    }
}

fn protocol(value: Value<'_>) -> Option<Protocol> {
    value.choice(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)], &[])
}

fn private(value: Value<'_>) -> Option<At<Private>> {
    value.section(|private| {
        let interfaces = private.optional("interfaces", interfaces);
        let networks = private.optional("networks", |it| {
            it.non_empty_list("name the networks that clients are in", |_| Some(()))?;
            networks(it)
        });
        if !private.has("interfaces") && !private.has("networks") {
            let help = r#"write for example `private = { interfaces = ["wg0"] }`"#;
            return value.refuse("`private` says neither `interfaces` nor `networks`", help);
        }
        Some(value.at(Private {
            interfaces: interfaces.unwrap_or_default(),
            networks: networks.unwrap_or_default(),
        }))
    })
}

fn concurrency(value: Value<'_>) -> Option<At<ConcurrencyDraft>> {
    value.section(|limits| {
        let kinds = [
            ("connections", ConcurrencyKind::Connections),
            ("requests", ConcurrencyKind::Requests),
        ];
        let default = Concurrency::default();
        let kind = limits.optional("type", |it| Some(it.at(it.choice(&kinds, &[])?)));
        let mut limit = |key| limits.optional(key, |it| Some(it.at(it.number(1..=u32::MAX)?)));
        let (soft, hard) = (limit("soft_limit"), limit("hard_limit"));
        if let (Some(soft), Some(hard)) = (&soft, &hard)
            && soft.value > hard.value
        {
            let message = "`soft_limit` is above `hard_limit`";
            limits.report().push(
                Diagnostic::new(soft.span.clone(), message)
                    .related(hard.span.clone(), "the hard limit")
                    .help("over `soft_limit` others are preferred, at `hard_limit` it is full"),
            );
        }
        let (soft, hard) = (soft.map(|limit| limit.value), hard.map(|limit| limit.value));
        let concurrency = Concurrency {
            kind: kind.as_ref().map_or(default.kind, |kind| kind.value),
            soft_limit: soft.unwrap_or(default.soft_limit.min(hard.unwrap_or(u32::MAX))),
            hard_limit: hard,
        };
        Some(value.at(ConcurrencyDraft { value: concurrency, limits: Limits { soft, hard }, kind }))
    })
}

fn pool_choice<'a>(service: &mut Section<'a>) -> Option<PoolChoice<'a>> {
    let inline = service.optional("load_balancer", pool).map(PoolChoice::Inline);
    let named = service.optional("pool", |it| Some(it.at(it.text()?))).map(PoolChoice::Named);
    match (service.key_span("load_balancer"), service.key_span("pool")) {
        (Some(inline), Some(named)) => service.report().push(
            Diagnostic::new(named, "`pool` beside `load_balancer`")
                .related(inline, "the service's own servers")
                .help("keep one of the two"),
        ),
        (None, None) => service.report().push(
            Diagnostic::new(service.span(), "the service has no servers")
                .help("add `load_balancer.servers`, or `pool` with the name of a `[pools.name]`"),
        ),
        _ => {}
    }
    inline.or(named)
}

impl<'a> ServiceDraft<'a> {
    pub(crate) fn label(&self) -> &str {
        self.name.as_ref().map_or("", |name| &name.value)
    }

    pub(crate) fn steered(&self) -> impl Iterator<Item = &PortDraft> {
        let ports = self.ports.items.iter().map(|item| &item.value);
        ports.filter(|draft| draft.port.path() == Path::Steer)
    }

    /// Returns whether the kernel steers every port.
    pub(crate) fn is_only_steered(&self) -> bool {
        self.ports.whole && self.steered().count() == self.ports.items.len()
    }

    /// `None`: an unknown name, or a pool with mistakes.
    pub(crate) fn find_pool<'p>(&'p self, pools: &'p Pools<'a>) -> Option<&'p PoolDraft> {
        match self.pool.as_ref()? {
            PoolChoice::Inline(pool) => Some(pool),
            PoolChoice::Named(name) => pools.get(name.value)?.as_ref(),
        }
    }

    /// Returns the port of a server without one, if the service has no `internal_port` either.
    /// `Some(0)`: the port that the client used.
    pub(crate) fn asked_port(&self) -> Option<u16> {
        if !self.is_only_steered() {
            return None;
        }
        let is_direct = self.forwarding().is_direct();
        match self.ports.items.as_slice() {
            [only] if !only.value.is_range() => is_direct.then(|| only.value.port.port.get()),
            ports if is_direct || ports.iter().any(|item| item.value.is_range()) => Some(0),
            _ => None,
        }
    }

    pub(crate) fn forwarding(&self) -> Forwarding {
        self.steering.forwarding.as_ref().map_or(Forwarding::Nat, |it| it.value)
    }

    pub(crate) fn listening(&self) -> Option<Listening> {
        Some(Listening { internal_port: self.internal_port?, asked: self.asked_port() })
    }

    pub(crate) fn quic(&self) -> Option<Quic> {
        self.steering.quic.as_ref().map(|it| it.value)
    }

    /// Builds the service, unless a part of it has mistakes.
    pub(crate) fn build(
        self,
        pools: &Pools<'a>,
        usual: ServiceDefaults,
        report: &Report,
    ) -> Option<Arc<Service>> {
        let user = match &self.pool {
            Some(PoolChoice::Named(name)) => name.span.clone(),
            _ => self.span.clone(),
        };
        let draft = self.find_pool(pools)?;
        let strategy = draft.strategy.as_ref().map(|it| it.value);
        let pool = draft.resolve(self.listening()?, self.quic(), &user, report)?;
        let protocol = self.protocol?;
        let steering = self.build_steering(protocol, strategy, usual);
        let concurrency = self.concurrency.map(|it| it.value.value);
        let ports = self.ports.into_values();
        Some(Arc::new(Service {
            name: self.name?.value,
            protocol,
            addresses: values(self.addresses),
            hostnames: values(self.hostnames.unwrap_or_default()),
            ports: ports.into_iter().map(|draft| draft.port).collect(),
            steering,
            private: self.private.map(|it| it.value),
            concurrency: concurrency.unwrap_or_default(),
            limits: self.limits.map(|it| it.value),
            queue: self.queue.map(|it| it.value).unwrap_or_default(),
            pool,
        }))
    }

    fn build_steering(
        &self,
        protocol: Protocol,
        strategy: Option<Strategy>,
        usual: ServiceDefaults,
    ) -> Steering {
        let draft = &self.steering;
        let on_down = draft.on_backend_down.as_ref().map(|it| it.value);
        Steering {
            forwarding: self.forwarding(),
            strategy: strategy.unwrap_or(Strategy::Maglev),
            mtu: draft.mtu.as_ref().map(|it| it.value),
            mss_clamp: draft.mss_clamp.as_ref().map(|it| it.value).unwrap_or_default(),
            affinity: draft.affinity,
            limits: self.concurrency.as_ref().map(|it| it.value.limits).unwrap_or_default(),
            on_backend_down: match protocol {
                Protocol::Tcp => on_down.unwrap_or(OnBackendDown::Reset),
                Protocol::Udp => OnBackendDown::Move,
            },
            drain_deadline: draft.drain_deadline,
            flow_timeouts: draft.flow_timeouts.or(usual.timeouts(self.forwarding())),
            unknown_flows: usual.unknown_flows,
            quic: self.quic(),
            syn_flood: draft.syn_flood.as_ref().map(|it| it.value),
            rate_limits: draft.rate_limits,
            access: draft.access.clone(),
        }
    }
}

fn values<T>(items: Vec<At<T>>) -> Vec<T> {
    items.into_iter().map(|item| item.value).collect()
}
