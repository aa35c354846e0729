//! Keys of `[[services]]` that say how the kernel treats packets.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::service::{
    Access, Affinity, Forwarding, MssClamp, OnBackendDown, Quic, Rate, RateLimits, SourcePrefix,
    SourceRate, SynFlood,
};

use crate::config::{
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, Value},
        scalar::duration,
        section::Section,
    },
    values::{
        flow_timeouts::{TimeoutsDraft, flow_timeouts},
        network::network,
    },
};

/// What was written, and where.
pub(crate) struct SteeringDraft {
    /// The keys that are written and act on steered ports alone.
    pub keys: Vec<(&'static str, Span)>,
    pub forwarding: Option<At<Forwarding>>,
    pub mtu: Option<At<u16>>,
    pub mss_clamp: Option<At<MssClamp>>,
    pub affinity: Option<Affinity>,
    pub on_backend_down: Option<At<OnBackendDown>>,
    pub drain_deadline: Option<Duration>,
    pub flow_timeouts: TimeoutsDraft,
    pub quic: Option<At<Quic>>,
    pub syn_flood: Option<At<SynFlood>>,
    pub rate_limits: RateLimits,
    pub access: Access,
}

/// Keys without a meaning for ports with handlers. `forwarding = "nat"` is not among them: the
/// proxy does that as well.
const KEYS: [&str; 10] = [
    "mtu",
    "mss_clamp",
    "affinity",
    "on_backend_down",
    "flow_timeouts",
    "quic",
    "syn_flood",
    "rate_limit",
    "allow",
    "deny",
];

pub(crate) fn steering(service: &mut Section<'_>) -> SteeringDraft {
    let forwarding = service.optional("forwarding", forwarding);
    let draft = SteeringDraft {
        mtu: service.optional("mtu", |it| Some(it.at(it.number(576..=u16::MAX)?))),
        mss_clamp: service.optional("mss_clamp", mss_clamp),
        affinity: service.optional("affinity", affinity),
        on_backend_down: service.optional("on_backend_down", on_backend_down),
        drain_deadline: service.optional("drain_deadline", duration),
        flow_timeouts: service.optional("flow_timeouts", flow_timeouts).unwrap_or_default(),
        quic: service.optional("quic", quic),
        syn_flood: service.optional("syn_flood", syn_flood),
        rate_limits: service.optional("rate_limit", rate_limits).unwrap_or_default(),
        access: access(service),
        keys: Vec::new(),
        forwarding,
    };
    let keys = KEYS.into_iter().filter_map(|key| Some((key, service.key_span(key)?)));
    let direct = draft.forwarding.as_ref().filter(|it| it.value.is_direct());
    let direct = direct.map(|it| ("forwarding", it.span.clone()));
    SteeringDraft { keys: direct.into_iter().chain(keys).collect(), ..draft }
}

fn forwarding(value: Value<'_>) -> Option<At<Forwarding>> {
    Some(value.at(value.choice(&Forwarding::NAMED, &[])?))
}

/// Reads `true`, or a number of bytes of at least what every IPv4 host accepts (RFC 9293, 3.7.1).
fn mss_clamp(value: Value<'_>) -> Option<At<MssClamp>> {
    let clamp = match value.is_boolean() {
        true if value.boolean()? => MssClamp::ToMtu,
        true => MssClamp::Off,
        false => MssClamp::To(value.number(536..=u16::MAX)?),
    };
    Some(value.at(clamp))
}

const WHOLE_ADDRESSES: SourcePrefix = SourcePrefix { v4: 32, v6: 128 };
/// The network of one site (RFC 6177): a host there may take any address of it.
const SITES: SourcePrefix = SourcePrefix { v4: 32, v6: 64 };

fn affinity(value: Value<'_>) -> Option<Affinity> {
    const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
    value.section(|affinity| {
        let timeout = affinity.optional("timeout", duration);
        let source = source_prefix(affinity, WHOLE_ADDRESSES);
        Some(Affinity { timeout: timeout.unwrap_or(DEFAULT_TIMEOUT), source })
    })
}

fn on_backend_down(value: Value<'_>) -> Option<At<OnBackendDown>> {
    let known = [("reset", OnBackendDown::Reset), ("move", OnBackendDown::Move)];
    Some(value.at(value.choice(&known, &[])?))
}

fn quic(value: Value<'_>) -> Option<At<Quic>> {
    value.section(|quic| {
        let example = r#"connection_ids = "plain""#;
        let ids = quic
            .required("connection_ids", example, |it| it.choice(&[("plain", ())], &["encrypted"]));
        let length = quic.optional("server_id_length", |it| it.number(1..=15_u8));
        ids?;
        Some(value.at(Quic { server_id_length: length.unwrap_or(DEFAULT_SERVER_ID_LENGTH) }))
    })
}

/// Long enough that a thousand servers seldom have the same default id.
const DEFAULT_SERVER_ID_LENGTH: u8 = 4;

fn syn_flood(value: Value<'_>) -> Option<At<SynFlood>> {
    const DEFAULT_REMEMBER: Duration = Duration::from_secs(300);
    value.section(|flood| {
        let threshold =
            flood.required("threshold", "threshold = 1000", |it| it.number(1..=u32::MAX));
        let remember = flood.optional("remember", duration).unwrap_or(DEFAULT_REMEMBER);
        Some(value.at(SynFlood { threshold: threshold?, remember }))
    })
}

fn rate_limits(value: Value<'_>) -> Option<RateLimits> {
    value.section(|limits| {
        let per_source = limits.optional("per_source", |it| {
            it.section(|source| {
                let rate = rate(source);
                let source = source_prefix(source, SITES);
                Some(SourceRate { rate: rate?, source })
            })
        });
        let per_service = limits.optional("per_service", |it| it.section(rate));
        if !limits.has("per_source") && !limits.has("per_service") {
            return value.refuse(
                "`rate_limit` limits nothing",
                "add `per_source = { rate = 100 }` or `per_service = { rate = 10000 }`",
            );
        }
        Some(RateLimits { per_source, per_service })
    })
}

/// Reads `prefix_v4` and `prefix_v6` of a section.
fn source_prefix(section: &mut Section<'_>, default: SourcePrefix) -> SourcePrefix {
    let v4 = section.optional("prefix_v4", |it| it.number(0..=32_u8));
    let v6 = section.optional("prefix_v6", |it| it.number(0..=128_u8));
    SourcePrefix { v4: v4.unwrap_or(default.v4), v6: v6.unwrap_or(default.v6) }
}

/// One core opens less than a million flows a second.
const MOST_PER_SECOND: u32 = 100_000_000;

fn rate(limit: &mut Section<'_>) -> Option<Rate> {
    let rate = limit.required("rate", "rate = 100", |it| it.number(1..=MOST_PER_SECOND));
    let burst = limit.optional("burst", |it| it.number(1..=MOST_PER_SECOND));
    Some(Rate { rate: rate?, burst: burst.or(rate)? })
}

fn access(service: &mut Section<'_>) -> Access {
    let allow = access_list(service, "allow", "leave it out to allow everybody");
    let deny = access_list(service, "deny", "leave it out to deny nobody");
    let both = deny.iter().find_map(|denied| {
        let allowed = allow.iter().find(|allowed| allowed.value == denied.value)?;
        Some((allowed, denied))
    });
    if let Some((allowed, denied)) = both {
        service.report().push(
            Diagnostic::new(denied.span.clone(), format!("`{}` is denied", denied.value))
                .related(allowed.span.clone(), "and allowed here")
                .help("remove one of the two: of different lengths the longest decides"),
        );
    }
    let values = |items: Vec<At<IpNet>>| items.iter().map(|it| it.value).collect::<Arc<[_]>>();
    Access { allow: values(allow), deny: values(deny) }
}

fn access_list(service: &mut Section<'_>, key: &'static str, help: &str) -> Vec<At<IpNet>> {
    let list = service.optional(key, |it| it.non_empty_list(help, network));
    let items = list.map_or_else(Vec::new, |list| list.items);
    service.report().refuse_repeats("network", &items);
    items
}
