//! `[[services.ports]]`: a port and what happens to connections on it.

use std::{collections::HashSet, sync::Arc};

use crate::service::{Handler, Port, TlsOptions, TlsVersion};

use super::{
    diagnostic::{Diagnostic, Span},
    port_range::port_range,
    reader::{At, List, Report, Value},
    section::Section,
};

/// A port that is sound in itself, and where its parts are written.
pub(super) struct PortDraft {
    pub port: Port,
    pub number: Span,
    pub handlers: Option<Span>,
}

impl PortDraft {
    pub(super) fn is_range(&self) -> bool {
        self.port.port != self.port.end_port
    }
}

pub(super) fn port(value: Value<'_>) -> Option<PortDraft> {
    value.section(|port| {
        let number = port_range(port);
        port.not_yet("proxy_proto_options", HANDLERS_HELP);
        let handlers = port.optional("handlers", handlers);
        let tls = port.optional("tls_options", tls_options);
        let force_https = port.optional("force_https", Value::boolean);
        if handlers.is_none() && port.has("handlers") {
            return None;
        }
        let handlers = handlers.unwrap_or_default();
        let is_sound = check_tls_options(port, &handlers)
            & check_force_https(port, &handlers, force_https == Some(true))
            & check_alpn(port.report(), &handlers, tls.as_ref());
        let has_tls = handlers.contains(&Handler::Tls);
        let number = number.filter(|_| is_sound)?;
        Some(PortDraft {
            port: Port {
                port: number.value.0,
                end_port: number.value.1,
                tls: has_tls.then(|| tls.map_or_else(default_tls, TlsDraft::build)),
                force_https: force_https == Some(true),
                handlers,
            },
            number: number.span,
            handlers: port.key_span("handlers"),
        })
    })
}

const HANDLERS_HELP: &str =
    r#"supported: ["tls", "http"], ["tls"], ["http"], or no handlers to pass connections through"#;

fn handlers(value: Value<'_>) -> Option<Vec<Handler>> {
    let handlers = value.list(|it| {
        let known = [("tls", Handler::Tls), ("http", Handler::Http)];
        it.choice(&known, &["pg_tls", "proxy_proto"])
    })?;
    let distinct = refuse_repeated_handlers(value.report(), &handlers);
    if !handlers.whole || !distinct {
        return None;
    }
    let handlers = handlers.into_values();
    if handlers == [Handler::Http, Handler::Tls] {
        let message = "`http` before `tls`: handlers act in the order in which they are written";
        return value.refuse(message, r#"write ["tls", "http"]"#);
    }
    Some(handlers)
}

fn refuse_repeated_handlers(report: &Report, handlers: &List<Handler>) -> bool {
    let named: Vec<_> = handlers
        .items
        .iter()
        .map(|item| At {
            value: match item.value {
                Handler::Tls => "tls",
                Handler::Http => "http",
            },
            span: item.span.clone(),
        })
        .collect();
    report.refuse_repeats("handler", &named);
    let distinct: HashSet<_> = named.iter().map(|item| item.value).collect();
    distinct.len() == named.len()
}

struct TlsDraft {
    alpn: Option<Vec<At<Arc<str>>>>,
    versions: Option<Vec<TlsVersion>>,
    default_self_signed: bool,
}

impl TlsDraft {
    fn build(self) -> TlsOptions {
        let default = default_tls();
        let alpn = self.alpn.map(|names| names.into_iter().map(|name| name.value).collect());
        TlsOptions {
            alpn: alpn.unwrap_or(default.alpn),
            versions: self.versions.unwrap_or(default.versions),
            default_self_signed: self.default_self_signed,
        }
    }
}

fn default_tls() -> TlsOptions {
    TlsOptions {
        alpn: vec!["h2".into(), "http/1.1".into()],
        versions: vec![TlsVersion::V1_2, TlsVersion::V1_3],
        default_self_signed: false,
    }
}

fn tls_options(value: Value<'_>) -> Option<TlsDraft> {
    value.section(|tls| {
        let alpn = tls.optional("alpn", |it| {
            let names = it.list(alpn_name)?.items;
            it.report().refuse_repeats("protocol", &names);
            Some(names)
        });
        let versions = tls.optional("versions", |it| {
            let help = "leave it out for both TLSv1.2 and TLSv1.3";
            Some(it.some_list(help, tls_version)?.into_values())
        });
        let self_signed = tls.optional("default_self_signed", Value::boolean);
        Some(TlsDraft { alpn, versions, default_self_signed: self_signed.unwrap_or(false) })
    })
}

/// RFC 7301, 3.1: 1 to 255 bytes.
fn alpn_name(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if (1..=255).contains(&text.len()) {
        return Some(text.into());
    }
    value.refuse(
        format!("a protocol name of {} bytes in `alpn`", text.len()),
        "ALPN names have 1 to 255 bytes (RFC 7301)",
    )
}

fn tls_version(value: Value<'_>) -> Option<TlsVersion> {
    let known = [("TLSv1.2", TlsVersion::V1_2), ("TLSv1.3", TlsVersion::V1_3)];
    value.choice(&known, &[])
}

fn check_tls_options(port: &Section<'_>, handlers: &[Handler]) -> bool {
    let Some(span) = port.key_span("tls_options") else {
        return true;
    };
    if handlers.contains(&Handler::Tls) {
        return true;
    }
    let help = r#"add "tls" to `handlers`, or remove `tls_options`"#;
    let message = "`tls_options` on a port without the `tls` handler";
    port.report().push(Diagnostic::new(span, message).help(help));
    false
}

fn check_force_https(port: &Section<'_>, handlers: &[Handler], force_https: bool) -> bool {
    let Some(span) = port.key_span("force_https").filter(|_| force_https) else {
        return true;
    };
    let (message, help) = if handlers.contains(&Handler::Tls) {
        (
            "`force_https` on a port that already is https",
            r#"set it on the port with `handlers = ["http"]`, usually 80"#,
        )
    } else if !handlers.contains(&Handler::Http) {
        (
            "`force_https` on a port without the `http` handler",
            r#"add `handlers = ["http"]`: only HTTP can be redirected"#,
        )
    } else {
        return true;
    };
    let mut diagnostic = Diagnostic::new(span, message).help(help);
    if let Some(span) = port.key_span("handlers") {
        diagnostic = diagnostic.related(span, "the handlers of this port");
    }
    port.report().push(diagnostic);
    false
}

/// With `http` we speak the protocol ourselves, so it must be one that we speak.
fn check_alpn(report: &Report, handlers: &[Handler], tls: Option<&TlsDraft>) -> bool {
    let names = tls.and_then(|tls| tls.alpn.as_deref()).unwrap_or_default();
    if !handlers.contains(&Handler::Http) {
        return true;
    }
    let foreign = names.iter().find(|name| !matches!(&*name.value, "h2" | "http/1.1"));
    let Some(name) = foreign else { return true };
    let message = format!("the `http` handler does not speak `{}`", name.value);
    let help = "use \"h2\" and \"http/1.1\", or remove the `http` handler";
    report.push(Diagnostic::new(name.span.clone(), message).help(help));
    false
}
