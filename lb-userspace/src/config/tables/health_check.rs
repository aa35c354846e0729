//! `health_check`: HTTP with a `path`, a TCP connection without.

use std::sync::Arc;

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};

use crate::service::{HealthCheck, Probe, ProxyProtocol};

use crate::config::{
    text::{
        diagnostic::Diagnostic,
        reader::{At, Value},
        scalar::{duration, port},
        section::Section,
    },
    values::hostname::hostname,
};

pub(crate) fn health_check(value: Value<'_>) -> Option<HealthCheck> {
    value.section(|check| {
        check.unsupported("scheme", "checks are made over plain HTTP");
        let instead = "any answer from 200 to 399 is healthy unless `status` is given";
        check.unsupported("follow_redirects", instead);
        let probe = probe(check);
        let port = check.optional("port", port);
        let versions =
            [("none", None), ("v1", Some(ProxyProtocol::V1)), ("v2", Some(ProxyProtocol::V2))];
        let proxy_proto = check.optional("proxy_proto", |it| it.choice(&versions, &[]));
        let h2_backend = check.optional("h2_backend", Value::boolean);
        let direct = check.optional("direct", Value::boolean);
        let interval = check.optional("interval", duration);
        let unhealthy_interval = check.optional("unhealthy_interval", duration);
        let timeout = check.optional("timeout", duration);
        let mut threshold = |key| check.optional(key, |it| it.number(1..=1000_u32));
        let healthy_threshold = threshold("healthy_threshold");
        let unhealthy_threshold = threshold("unhealthy_threshold");
        let plain = HealthCheck::plain(probe?);
        Some(HealthCheck {
            port,
            direct: direct.unwrap_or(plain.direct),
            h2_backend,
            proxy_proto,
            interval: interval.unwrap_or(plain.interval),
            unhealthy_interval: unhealthy_interval.or(interval).unwrap_or(plain.unhealthy_interval),
            timeout: timeout.unwrap_or(plain.timeout),
            healthy_threshold: healthy_threshold.unwrap_or(plain.healthy_threshold),
            unhealthy_threshold: unhealthy_threshold.unwrap_or(plain.unhealthy_threshold),
            ..plain
        })
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Tcp,
    Http,
}

fn probe(check: &mut Section<'_>) -> Option<Probe> {
    let modes = [("http", Mode::Http), ("tcp", Mode::Tcp)];
    let mode = check.optional("mode", |it| it.choice(&modes, &["grpc"]));
    let path = match mode {
        Some(Mode::Http) => check.required("path", r#"path = "/healthz""#, path),
        _ => check.optional("path", path),
    };
    let method = check.optional("method", method);
    let hostname = check.optional("hostname", hostname);
    let headers = check.optional("headers", |it| it.entries(header));
    let status = check.optional("status", |it| it.number(100..=599_u16));
    let is_tcp = match mode {
        Some(mode) => mode == Mode::Tcp,
        None => !check.has("path") && !check.has("mode"),
    };
    if is_tcp {
        refuse_http_keys(check, mode);
        return Some(Probe::Tcp);
    }
    Some(Probe::Http {
        path: path?,
        method: method.unwrap_or_else(|| "GET".into()),
        hostname,
        headers: headers.unwrap_or_default(),
        status,
    })
}

fn refuse_http_keys(check: &Section<'_>, mode: Option<Mode>) {
    let help = match mode {
        Some(_) => "remove it, or write `mode = \"http\"`",
        None => "add a `path`: without one only a TCP connection is tried",
    };
    for key in ["path", "method", "hostname", "headers", "status", "h2_backend"] {
        if let Some(span) = check.key_span(key) {
            let message = format!("`{key}` has no meaning in a TCP check");
            check.report().push(Diagnostic::new(span, message).help(help));
        }
    }
}

fn path(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        return Some(text.into());
    }
    value.refuse(
        format!("`{text}` is not the path of a request"),
        "write one that begins with `/`, percent-encoded, such as \"/healthz\"",
    )
}

fn method(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) | Err(_) => value.refuse(
            format!("`{text}` cannot be the method of a check"),
            "write \"GET\", \"HEAD\" or another method that asks for a path",
        ),
        Ok(_) => Some(text.into()),
    }
}

fn header(name: &At<&str>, value: Value<'_>) -> Option<(Arc<str>, Arc<str>)> {
    let report = value.report();
    let text = value.text();
    let Ok(parsed) = HeaderName::from_bytes(name.value.as_bytes()) else {
        let message = format!("`{}` is not the name of a header", name.value);
        let help = "header names are letters, digits and `-`";
        report.push(Diagnostic::new(name.span.clone(), message).help(help));
        return None;
    };
    if matches!(parsed.as_str(), "host" | "connection" | "content-length" | "transfer-encoding") {
        let message = format!("`{}` is set by the check itself", name.value);
        let help = "remove it; `hostname` sets `Host`";
        report.push(Diagnostic::new(name.span.clone(), message).help(help));
        return None;
    }
    let text = text?;
    if HeaderValue::from_str(text).is_err() {
        let message = format!("the value of header `{}` has a control character", name.value);
        return value.refuse(message, "headers are one line of visible characters");
    }
    Some((name.value.into(), text.into()))
}
