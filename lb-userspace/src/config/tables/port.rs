//! `[[services.ports]]`: a port, and what happens to connections on it.

use std::{collections::HashSet, path::Path, time::Duration};

use crate::service::{Handler, Port, ProxyProtocol, Redirect};

use super::{
    handler_chain::Chain,
    http_options::{check_http_options, http_options},
    redirect::{check_force_https, check_word, force_https},
    tls_options::{check_tls, check_tls_options, is_tls, tls_options},
};
use crate::config::{
    text::{
        diagnostic::{Diagnostic, Span},
        reader::{At, List, Report, Value},
        scalar::duration,
        section::Section,
    },
    values::port_range::port_range,
};

/// A port that is valid in itself, and where its parts are written.
pub(crate) struct PortDraft {
    pub port: Port,
    pub number: Span,
    pub handlers: Option<Span>,
}

impl PortDraft {
    pub(crate) fn is_range(&self) -> bool {
        self.port.port != self.port.end_port
    }
}

/// Reads a port. Relative paths are relative to `directory`.
pub(crate) fn port(value: Value<'_>, directory: &Path) -> Option<PortDraft> {
    value.section(|port| {
        let number = port_range(port);
        let chain = port.optional("handlers", handlers);
        let tls = port.optional("tls_options", |it| tls_options(it, directory));
        let proxy_proto = port.optional("proxy_proto_options", proxy_proto_options);
        let http = port.optional("http_options", http_options);
        let force_https = port.optional("force_https", force_https);
        let idle_timeout = port.optional("idle_timeout", |it| Some(it.at(duration(it)?)));
        if chain.is_none() && port.has("handlers") {
            return None;
        }
        let chain = chain.unwrap_or_default();
        let handlers = &*chain.handlers;
        let (http, http_idle) = http.unwrap_or_default();
        let is_sound = check_tls_options(port, handlers)
            & check_proxy_proto_options(port, handlers)
            & check_http_options(port, handlers)
            & check_force_https(port, &chain, force_https.as_ref())
            & check_tls(port.report(), handlers, tls.as_ref())
            & check_idle_timeout(port, handlers, http_idle.as_ref());
        let number = number.filter(|_| is_sound)?;
        let redirect = chain.redirect.map(|_| Redirect::default());
        let force_https = force_https.flatten().or(redirect);
        let has_proxy_proto = handlers.contains(&Handler::ProxyProto);
        Some(PortDraft {
            port: Port {
                port: number.value.0,
                end_port: number.value.1,
                tls: is_tls(handlers).then(|| tls.unwrap_or_default().build(handlers)),
                proxy_proto: has_proxy_proto.then(|| proxy_proto.unwrap_or_default()),
                // A port that terminates TLS needs no redirect.
                force_https: force_https.filter(|_| !is_tls(handlers)),
                idle_timeout: idle_timeout.or(http_idle).map(|it| it.value),
                http,
                handlers: chain.handlers,
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

/// A word of `handlers`.
#[derive(Clone, Copy)]
enum Word {
    Handler(Handler),
    Redirect,
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Handler(handler) => handler.name(),
            Self::Redirect => "redirect",
        }
    }
}

/// Reads the handlers. They are a set: each acts at its own place in the order, however they are
/// written.
fn handlers(value: Value<'_>) -> Option<Chain> {
    let words = value.list(|it| {
        let known = [Handler::Tls, Handler::Http, Handler::PgTls, Handler::ProxyProto];
        let known = known.map(Word::Handler).into_iter().chain([Word::Redirect]);
        it.choice(&known.map(|word| (word.name(), word)).collect::<Vec<_>>(), &[])
    })?;
    let distinct = refuse_repeated_handlers(value.report(), &words);
    if !words.whole || !distinct {
        return None;
    }
    let redirect = words.items.iter().find(|it| matches!(it.value, Word::Redirect));
    let redirect = redirect.map(|it| it.span.clone());
    let handlers = words.into_values().into_iter().filter_map(|word| match word {
        Word::Handler(handler) => Some(handler),
        Word::Redirect => None,
    });
    let handlers: Vec<_> = handlers.collect();
    let is_meant = |chain: &&[Handler]| {
        chain.len() == handlers.len() && chain.iter().all(|it| handlers.contains(it))
    };
    let Some(chain) = CHAINS.into_iter().find(is_meant) else {
        return value.refuse(
            format!("{} do not go together", listed(&handlers, " and ")),
            "`http` speaks to backends itself; the others hand bytes on: see docs/configuration.md",
        );
    };
    if let Some(span) = &redirect {
        check_word(value, span, chain)?;
    }
    Some(Chain { handlers: chain.to_vec(), redirect })
}

fn listed(handlers: &[Handler], between: &str) -> String {
    let words: Vec<_> = handlers.iter().map(|it| format!("`{}`", it.name())).collect();
    words.join(between)
}

fn refuse_repeated_handlers(report: &Report, handlers: &List<Word>) -> bool {
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

/// Steered flows have their own timeouts.
fn check_idle_timeout(
    port: &Section<'_>,
    handlers: &[Handler],
    of_http: Option<&At<Duration>>,
) -> bool {
    let Some(span) = port.key_span("idle_timeout") else {
        return true;
    };
    let diagnostic = if handlers.is_empty() {
        Diagnostic::new(span, "`idle_timeout` on a port without handlers")
            .help("how long steered flows may be silent is said by the service's `flow_timeouts`")
    } else if let Some(other) = of_http {
        Diagnostic::new(span, "`idle_timeout` is given twice")
            .related(other.span.clone(), "and in `http_options`")
            .help("remove one of the two: they mean the same")
    } else {
        return true;
    };
    port.report().push(diagnostic);
    false
}
