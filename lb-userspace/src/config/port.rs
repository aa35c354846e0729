//! `[[services.ports]]`: a port and what happens to connections on it.

use std::{collections::HashSet, path::Path};

use crate::service::{Handler, Port, ProxyProtocol};

use super::{
    diagnostic::{Diagnostic, Span},
    http::{check_http_options, http_options},
    port_range::port_range,
    reader::{At, List, Report, Value},
    section::Section,
    tls::{check_alpn, check_tls_options, is_tls, tls_options},
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

/// Relative paths are relative to `directory`.
pub(super) fn port(value: Value<'_>, directory: &Path) -> Option<PortDraft> {
    value.section(|port| {
        let number = port_range(port);
        let handlers = port.optional("handlers", handlers);
        let tls = port.optional("tls_options", |it| tls_options(it, directory));
        let proxy_proto = port.optional("proxy_proto_options", proxy_proto_options);
        let http = port.optional("http_options", http_options);
        let force_https = port.optional("force_https", Value::boolean);
        if handlers.is_none() && port.has("handlers") {
            return None;
        }
        let handlers = handlers.unwrap_or_default();
        let is_sound = check_tls_options(port, &handlers)
            & check_proxy_proto_options(port, &handlers)
            & check_http_options(port, &handlers)
            & check_force_https(port, &handlers, force_https == Some(true))
            & check_alpn(port.report(), &handlers, tls.as_ref());
        let has = |handler| handlers.contains(&handler);
        let number = number.filter(|_| is_sound)?;
        Some(PortDraft {
            port: Port {
                port: number.value.0,
                end_port: number.value.1,
                tls: is_tls(&handlers).then(|| tls.unwrap_or_default().build(&handlers)),
                proxy_proto: has(Handler::ProxyProto).then(|| proxy_proto.unwrap_or_default()),
                force_https: force_https == Some(true),
                http: http.unwrap_or_default(),
                handlers,
            },
            number: number.span,
            handlers: port.key_span("handlers"),
        })
    })
}

/// In the order in which they act on a connection.
const CHAINS: [&[Handler]; 8] = [
    &[],
    &[Handler::Http],
    &[Handler::Tls],
    &[Handler::PgTls],
    &[Handler::ProxyProto],
    &[Handler::Tls, Handler::Http],
    &[Handler::Tls, Handler::ProxyProto],
    &[Handler::PgTls, Handler::ProxyProto],
];

fn handlers(value: Value<'_>) -> Option<Vec<Handler>> {
    let handlers = value.list(|it| {
        let known = [Handler::Tls, Handler::Http, Handler::PgTls, Handler::ProxyProto];
        it.choice(&known.map(|handler| (handler.name(), handler)), &[])
    })?;
    let distinct = refuse_repeated_handlers(value.report(), &handlers);
    if !handlers.whole || !distinct {
        return None;
    }
    let handlers = handlers.into_values();
    if CHAINS.contains(&&*handlers) {
        return Some(handlers);
    }
    let same_in_order = |chain: &&[Handler]| {
        chain.len() == handlers.len() && chain.iter().all(|it| handlers.contains(it))
    };
    match CHAINS.into_iter().find(same_in_order) {
        Some(chain) => value.refuse(
            format!(
                "{}: handlers act in the order in which they are written",
                listed(&handlers, ", ")
            ),
            format!("write [{}]", quoted(chain)),
        ),
        None => value.refuse(
            format!("{} do not go together", listed(&handlers, " and ")),
            "`http` speaks to backends itself; the others hand bytes on: see docs/configuration.md",
        ),
    }
}

fn quoted(handlers: &[Handler]) -> String {
    let words: Vec<_> = handlers.iter().map(|it| format!("\"{}\"", it.name())).collect();
    words.join(", ")
}

fn listed(handlers: &[Handler], between: &str) -> String {
    let words: Vec<_> = handlers.iter().map(|it| format!("`{}`", it.name())).collect();
    words.join(between)
}

fn refuse_repeated_handlers(report: &Report, handlers: &List<Handler>) -> bool {
    let named: Vec<_> = handlers
        .items
        .iter()
        .map(|item| At { value: item.value.name(), span: item.span.clone() })
        .collect();
    report.refuse_repeats("handler", &named);
    let distinct: HashSet<_> = named.iter().map(|item| item.value).collect();
    distinct.len() == named.len()
}

fn proxy_proto_options(value: Value<'_>) -> Option<ProxyProtocol> {
    value.section(|options| {
        let versions = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
        let version = options.optional("version", |it| it.choice(&versions, &[]));
        Some(version.unwrap_or_default())
    })
}

fn check_proxy_proto_options(port: &Section<'_>, handlers: &[Handler]) -> bool {
    let Some(span) = port.key_span("proxy_proto_options") else {
        return true;
    };
    if handlers.contains(&Handler::ProxyProto) {
        return true;
    }
    let help = r#"add "proxy_proto" to `handlers`, or remove `proxy_proto_options`"#;
    let message = "`proxy_proto_options` on a port without the `proxy_proto` handler";
    port.report().push(Diagnostic::new(span, message).help(help));
    false
}

fn check_force_https(port: &Section<'_>, handlers: &[Handler], force_https: bool) -> bool {
    let Some(span) = port.key_span("force_https").filter(|_| force_https) else {
        return true;
    };
    let (has_http, ends_tls) = (handlers.contains(&Handler::Http), is_tls(handlers));
    let (message, help) = match (has_http, ends_tls) {
        (true, false) => return true,
        (true, true) => (
            "`force_https` on a port that already is https",
            r#"set it on the port with `handlers = ["http"]`, usually 80"#,
        ),
        (false, true) => (
            "`force_https` on a port without the `http` handler",
            r#"set it on the port with `handlers = ["http"]`, usually 80: what is in TLS cannot be redirected"#,
        ),
        (false, false) => (
            "`force_https` on a port without the `http` handler",
            r#"add `handlers = ["http"]`: only HTTP can be redirected"#,
        ),
    };
    let mut diagnostic = Diagnostic::new(span, message).help(help);
    if let Some(span) = port.key_span("handlers") {
        diagnostic = diagnostic.related(span, "the handlers of this port");
    }
    port.report().push(diagnostic);
    false
}
