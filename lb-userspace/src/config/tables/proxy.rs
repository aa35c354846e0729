//! `[proxy]` and `[[certificates]]`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::config::{
    text::{
        diagnostic::Diagnostic,
        named_file::NamedFile,
        reader::{At, List, Report, Value},
        scalar::duration,
        section::Section,
    },
    values::network::networks,
};
use crate::settings::{CertificateFiles, CertificateSource, Keepalive, ProxySettings};

/// The longest lifetime of session-ticket keys.
const LONGEST_ROTATION: Duration = Duration::from_secs(6 * 60 * 60);

/// The kernel's limits: 32767 s for TCP_KEEPIDLE and TCP_KEEPINTVL, 127 for TCP_KEEPCNT.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(9 * 60 * 60);
const MOST_PROBES: u32 = 127;

pub(crate) fn default_proxy() -> ProxySettings {
    ProxySettings {
        header_prefix: "Fly-".into(),
        trusted_proxies: Vec::new(),
        proxy_proto_from: Vec::new(),
        handshake_timeout: Duration::from_secs(10),
        ticket_rotation: LONGEST_ROTATION,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        keepalive: Keepalive::default(),
        termination_delay: None,
        max_header_size: 64 * 1024,
        max_request_body: u64::MAX,
        request_timeout: None,
        dial_timeout: Duration::from_secs(5),
        response_header_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(30),
        max_replay_body: 1 << 20,
        max_idle_per_backend: 64,
        upstream_idle_timeout: Duration::from_secs(60),
    }
}

pub(crate) fn proxy(value: Value<'_>) -> Option<ProxySettings> {
    value.section(|proxy| {
        let default = default_proxy();
        let header_prefix = proxy.optional("header_prefix", header_prefix);
        let trusted_proxies = proxy.optional("trusted_proxies", networks);
        let proxy_proto_from = proxy.optional("proxy_proto_from", networks);
        let max_replay_body = proxy.optional("max_replay_body", |it| it.number(0..=1_u32 << 30));
        let max_idle = proxy.optional("max_idle_per_backend", |it| it.number(0..=u16::MAX));
        let max_header = proxy.optional("max_header_size", |it| it.number(8192..=1 << 20));
        let max_body = proxy.optional("max_request_body", |it| it.number(0..=u64::MAX >> 1));
        let request_timeout = proxy.optional("request_timeout", duration);
        let termination_delay = proxy.optional("termination_delay", duration);
        let ticket_rotation = proxy.optional("ticket_rotation", ticket_rotation);
        let keepalive = keepalive(proxy);
        let mut or = |key, default| proxy.optional(key, duration).unwrap_or(default);
        Some(ProxySettings {
            header_prefix: header_prefix.unwrap_or(default.header_prefix),
            trusted_proxies: trusted_proxies.unwrap_or_default(),
            proxy_proto_from: proxy_proto_from.unwrap_or_default(),
            handshake_timeout: or("handshake_timeout", default.handshake_timeout),
            ticket_rotation: ticket_rotation.unwrap_or(default.ticket_rotation),
            header_timeout: or("header_timeout", default.header_timeout),
            idle_timeout: or("idle_timeout", default.idle_timeout),
            keepalive,
            termination_delay,
            max_header_size: max_header.unwrap_or(default.max_header_size),
            max_request_body: max_body.unwrap_or(default.max_request_body),
            request_timeout,
            dial_timeout: or("dial_timeout", default.dial_timeout),
            response_header_timeout: or("response_header_timeout", default.response_header_timeout),
            drain_timeout: or("drain_timeout", default.drain_timeout),
            max_replay_body: max_replay_body.map_or(default.max_replay_body, u64::from),
            max_idle_per_backend: max_idle.map_or(default.max_idle_per_backend, usize::from),
            upstream_idle_timeout: or("upstream_idle_timeout", default.upstream_idle_timeout),
        })
    })
}

fn keepalive(proxy: &mut Section<'_>) -> Keepalive {
    let time = proxy.optional("keepalive_time", whole_seconds);
    let interval = proxy.optional("keepalive_interval", whole_seconds);
    let probes = proxy.optional("keepalive_probes", |it| it.number(1..=MOST_PROBES));
    let default = Keepalive::default();
    Keepalive {
        time: time.unwrap_or(default.time),
        interval: interval.unwrap_or(default.interval),
        probes: probes.unwrap_or(default.probes),
    }
}

/// Reads whole seconds, as the kernel takes them (tcp(7)).
fn whole_seconds(value: Value<'_>) -> Option<Duration> {
    let period = duration(value)?;
    let is_whole = period.subsec_nanos() == 0;
    if is_whole && (Duration::from_secs(1)..=LONGEST_KEEPALIVE).contains(&period) {
        return Some(period);
    }
    value.refuse(
        format!("`{}` must be whole seconds from 1s to 9h", value.key()),
        "TCP keep-alive of Linux counts in seconds",
    )
}

fn ticket_rotation(value: Value<'_>) -> Option<Duration> {
    let period = duration(value)?;
    if (Duration::from_secs(1)..=LONGEST_ROTATION).contains(&period) {
        return Some(period);
    }
    value.refuse(
        format!("`{}` must be from 1s to 6h", value.key()),
        "a ticket is honoured for one to two such periods: the shorter, the less a stolen key is worth",
    )
}

fn header_prefix(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    let is_valid = (2..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if is_valid {
        return Some(text.into());
    }
    value.refuse(
        format!("`{text}` cannot begin the name of a header"),
        "write at most 32 letters, digits and `-`, ending in `-`, such as \"Fly-\"",
    )
}

/// Relative paths are relative to `directory`, where the configuration file is.
pub(crate) fn certificate(value: Value<'_>, directory: &Path) -> Option<CertificateSource> {
    let source = value.section(|source| certificate_source(source, directory))?;
    value.report().name(value.at(NamedFile::Certificates(source.clone())));
    Some(source)
}

fn certificate_source(source: &mut Section<'_>, directory: &Path) -> Option<CertificateSource> {
    let is_default = source.optional("default", Value::boolean);
    let Some(span) = source.key_span("directory") else {
        let cert = source.required("cert", r#"cert = "example.crt""#, |it| file(it, directory));
        let key = source.required("key", r#"key = "example.key""#, |it| file(it, directory));
        source.optional("directory", |it| file(it, directory));
        let files = CertificateFiles { cert: cert?, key: key? };
        return Some(match is_default {
            Some(true) => CertificateSource::Default(files),
            _ => CertificateSource::Files(files),
        });
    };
    for (key, help) in [
        ("cert", "keep one of the two; `[[certificates]]` may be repeated"),
        ("key", "keep one of the two; `[[certificates]]` may be repeated"),
        ("default", "add a `[[certificates]]` with the `cert` and `key` of one pair and `default`"),
    ] {
        if let Some(beside) = source.key_span(key) {
            let message = format!("`{key}` beside `directory`");
            source.report().push(
                Diagnostic::new(beside, message)
                    .related(span.clone(), "all pairs in there are read")
                    .help(help),
            );
        }
    }
    source.optional("cert", |it| file(it, directory));
    source.optional("key", |it| file(it, directory));
    let path = source.optional("directory", |it| file(it, directory))?;
    Some(CertificateSource::Directory(path))
}

/// Only one certificate can be used for clients that send no name.
pub(crate) fn refuse_second_default(certificates: &List<CertificateSource>, report: &Report) {
    let is_default =
        |it: &&At<CertificateSource>| matches!(it.value, CertificateSource::Default(_));
    let mut defaults = certificates.items.iter().filter(is_default);
    let Some(first) = defaults.next() else { return };
    for other in defaults {
        report.push(
            Diagnostic::new(other.span.clone(), "a second default certificate")
                .related(first.span.clone(), "the first one")
                .help("keep `default = true` at one; a certificate with the other kind of key for the same names is used along with it"),
        );
    }
}

/// Reads a path that may be relative to `directory`.
pub(crate) fn file(value: Value<'_>, directory: &Path) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() || text.contains('\0') {
        return value.refuse(
            format!("`{}` must be a path", value.key()),
            "relative paths are relative to this configuration file",
        );
    }
    Some(directory.join(text))
}
