//! Settings beside the services: which differ, and whether the running process takes them over.

use super::text::AsText;
use crate::settings::{Admin, Config, Keepalive, Node, ProxySettings};

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Its table and key in the configuration.
    pub key: &'static str,
    /// `None`: the value is too long for a sentence.
    pub values: Option<(String, String)>,
    pub effect: Effect,
}

/// How a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once, for what is open too.
    AtOnce,
    /// For connections that come from now on.
    NewConnections,
    /// By a new process that takes the running one's place.
    NewProcess,
    /// Only a restart takes it over.
    Restart,
}

impl SettingChange {
    pub(super) fn sentence(&self) -> String {
        let Self { key, values, effect } = self;
        let changed = match values {
            Some((from, to)) => format!("{key}: {to} instead of {from}"),
            None => format!("{key}: changed"),
        };
        match effect {
            Effect::AtOnce => changed,
            Effect::NewConnections => format!("{changed}, for new connections"),
            Effect::NewProcess => {
                format!("{changed}, by a new process that takes this one's place")
            }
            Effect::Restart => format!("{changed}, which a restart takes over"),
        }
    }
}

pub(super) fn compare(running: &Config, desired: &Config) -> Vec<SettingChange> {
    let mut found = Vec::new();
    let Config { node, admin, certificates, proxy, regions, services: _ } = desired;
    compare_node(&mut found, &running.node, node);
    let Admin { listen, mode, owner, group } = admin;
    opaque(&mut found, "[admin] mode", Effect::AtOnce, &running.admin.mode, mode);
    shown(&mut found, "[admin] owner", Effect::AtOnce, &running.admin.owner, owner);
    shown(&mut found, "[admin] group", Effect::AtOnce, &running.admin.group, group);
    shown(&mut found, "[admin] listen", Effect::Restart, &running.admin.listen, listen);
    opaque(&mut found, "[[certificates]]", Effect::AtOnce, &running.certificates, certificates);
    compare_proxy(&mut found, &running.proxy, proxy);
    opaque(&mut found, "[regions]", Effect::AtOnce, &running.regions, regions);
    found
}

/// Every field of [`Node`]: whoever adds one says here how it takes effect.
fn compare_node(found: &mut Vec<SettingChange>, running: &Node, desired: &Node) {
    use Effect::{AtOnce, NewProcess, Restart};
    let Node {
        region,
        nearby,
        interfaces,
        xdp,
        source_ports,
        source_addresses,
        max_flows,
        maglev_table_size,
        max_half_open,
        max_fragments,
        max_affinities,
        max_sources,
        flow_timeouts,
        unknown_flows,
        encap,
        state_dir,
        pin_dir,
        workers,
        answer_neighbours,
        watch_config,
    } = desired;
    let node = running;
    shown(found, "[node] region", AtOnce, &node.region, region);
    shown(found, "[node] nearby", AtOnce, &node.nearby, nearby);
    shown(found, "[node] interfaces", AtOnce, &node.interfaces, interfaces);
    opaque(found, "[node] xdp", Restart, &node.xdp, xdp);
    shown(found, "[node] source_ports", NewProcess, &node.source_ports, source_ports);
    opaque(found, "[node] source_addresses", AtOnce, &node.source_addresses, source_addresses);
    shown(found, "[node] max_flows", Restart, &node.max_flows, max_flows);
    let size = &node.maglev_table_size;
    shown(found, "[node] maglev_table_size", AtOnce, size, maglev_table_size);
    shown(found, "[node] max_half_open", Restart, &node.max_half_open, max_half_open);
    shown(found, "[node] max_fragments", NewProcess, &node.max_fragments, max_fragments);
    shown(found, "[node] max_affinities", NewProcess, &node.max_affinities, max_affinities);
    shown(found, "[node] max_sources", NewProcess, &node.max_sources, max_sources);
    opaque(found, "[node] flow_timeouts", AtOnce, &node.flow_timeouts, flow_timeouts);
    opaque(found, "[node] unknown_flows", AtOnce, &node.unknown_flows, unknown_flows);
    opaque(found, "[node] encap", AtOnce, &node.encap, encap);
    shown(found, "[node] state_dir", Restart, &node.state_dir, state_dir);
    shown(found, "[node] pin_dir", Restart, &node.pin_dir, pin_dir);
    shown(found, "[node] workers", NewProcess, &node.workers, workers);
    let answer = &node.answer_neighbours;
    opaque(found, "[node] answer_neighbours", AtOnce, answer, answer_neighbours);
    shown(found, "[node] watch_config", AtOnce, &node.watch_config, watch_config);
}

/// Every field of [`ProxySettings`].
fn compare_proxy(found: &mut Vec<SettingChange>, running: &ProxySettings, desired: &ProxySettings) {
    const NEW: Effect = Effect::NewConnections;
    let ProxySettings {
        header_prefix,
        trusted_proxies,
        proxy_proto_from,
        handshake_timeout,
        ticket_rotation,
        header_timeout,
        idle_timeout,
        keepalive,
        termination_delay,
        max_header_size,
        max_request_body,
        request_timeout,
        dial_timeout,
        response_header_timeout,
        drain_timeout,
        max_replay_body,
        max_idle_per_backend,
        upstream_idle_timeout,
    } = desired;
    let proxy = running;
    shown(found, "[proxy] header_prefix", NEW, &proxy.header_prefix, header_prefix);
    shown(found, "[proxy] trusted_proxies", NEW, &proxy.trusted_proxies, trusted_proxies);
    shown(found, "[proxy] proxy_proto_from", NEW, &proxy.proxy_proto_from, proxy_proto_from);
    shown(found, "[proxy] handshake_timeout", NEW, &proxy.handshake_timeout, handshake_timeout);
    let rotation = &proxy.ticket_rotation;
    shown(found, "[proxy] ticket_rotation", Effect::NewProcess, rotation, ticket_rotation);
    shown(found, "[proxy] header_timeout", NEW, &proxy.header_timeout, header_timeout);
    shown(found, "[proxy] idle_timeout", NEW, &proxy.idle_timeout, idle_timeout);
    let Keepalive { time, interval, probes } = keepalive;
    shown(found, "[proxy] keepalive.time", NEW, &proxy.keepalive.time, time);
    shown(found, "[proxy] keepalive.interval", NEW, &proxy.keepalive.interval, interval);
    shown(found, "[proxy] keepalive.probes", NEW, &proxy.keepalive.probes, probes);
    shown(found, "[proxy] termination_delay", NEW, &proxy.termination_delay, termination_delay);
    shown(found, "[proxy] max_header_size", NEW, &proxy.max_header_size, max_header_size);
    shown(found, "[proxy] max_request_body", NEW, &proxy.max_request_body, max_request_body);
    shown(found, "[proxy] request_timeout", NEW, &proxy.request_timeout, request_timeout);
    shown(found, "[proxy] dial_timeout", NEW, &proxy.dial_timeout, dial_timeout);
    let header = &proxy.response_header_timeout;
    shown(found, "[proxy] response_header_timeout", NEW, header, response_header_timeout);
    shown(found, "[proxy] drain_timeout", Effect::AtOnce, &proxy.drain_timeout, drain_timeout);
    shown(found, "[proxy] max_replay_body", NEW, &proxy.max_replay_body, max_replay_body);
    let most = &proxy.max_idle_per_backend;
    shown(found, "[proxy] max_idle_per_backend", Effect::AtOnce, most, max_idle_per_backend);
    let idle = &proxy.upstream_idle_timeout;
    shown(found, "[proxy] upstream_idle_timeout", Effect::AtOnce, idle, upstream_idle_timeout);
}

/// Notes a setting if it differs, with its values.
fn shown<T: PartialEq + AsText>(
    found: &mut Vec<SettingChange>,
    key: &'static str,
    effect: Effect,
    from: &T,
    to: &T,
) {
    if from != to {
        let values = Some((from.text(), to.text()));
        found.push(SettingChange { key, values, effect });
    }
}

/// Notes a setting if it differs, without its values.
fn opaque<T: PartialEq>(
    found: &mut Vec<SettingChange>,
    key: &'static str,
    effect: Effect,
    from: &T,
    to: &T,
) {
    if from != to {
        found.push(SettingChange { key, values: None, effect });
    }
}
