//! `force_https`, and the handler word `redirect`, which means the same.

use crate::service::{Handler, Redirect};

use super::{handler_chain::Chain, tls_options::is_tls};
use crate::config::text::{
    diagnostic::{Diagnostic, Span},
    reader::Value,
    scalar,
    section::Section,
};

const STATUSES: [u16; 4] = [301, 302, 307, 308];

/// Reads `true`, `false`, or a table with details.
pub(crate) fn force_https(value: Value<'_>) -> Option<Option<Redirect>> {
    if !value.is_table() {
        return Some(value.boolean()?.then(Redirect::default));
    }
    value.section(|redirect| {
        let status = redirect.optional("status", status);
        let port = redirect.optional("port", scalar::port);
        let default = Redirect::default();
        Some(Some(Redirect { status: status.unwrap_or(default.status), port }))
    })
}

fn status(value: Value<'_>) -> Option<u16> {
    let status = value.number(300..=399)?;
    if STATUSES.contains(&status) {
        return Some(status);
    }
    value.refuse(
        format!("`status` {status} does not redirect"),
        "write 301 or 308 for good, 302 or 307 for now; 307 and 308 keep the method and the body",
    )
}

/// Refuses the word `redirect` in a chain that is not `http` alone.
pub(crate) fn check_word(value: Value<'_>, span: &Span, handlers: &[Handler]) -> Option<()> {
    let (message, help) = if is_tls(handlers) {
        (
            "`redirect` on a port that already is https",
            r#"set it on the port with `handlers = ["http"]`, usually 80"#,
        )
    } else if handlers != [Handler::Http] {
        (
            "`redirect` on a port without the `http` handler",
            r#"write ["http", "redirect"]: only HTTP can be redirected"#,
        )
    } else {
        return Some(());
    };
    value.report().push(Diagnostic::new(span.clone(), message).help(help));
    None
}

pub(crate) fn check_force_https(
    port: &Section<'_>,
    chain: &Chain,
    force_https: Option<&Option<Redirect>>,
) -> bool {
    let Some(span) = port.key_span("force_https") else {
        return true;
    };
    let is_wanted = matches!(force_https, Some(Some(_)));
    if let (Some(word), Some(None)) = (&chain.redirect, force_https) {
        let message =
            "`force_https = false` beside the handler `redirect`, which says the opposite";
        let diagnostic = Diagnostic::new(span, message).related(word.clone(), "said here");
        port.report().push(diagnostic.help("remove one of the two"));
        return false;
    }
    if !is_wanted || chain.handlers.contains(&Handler::Http) {
        return true;
    }
    let help = match is_tls(&chain.handlers) {
        true => {
            r#"set it on the port with `handlers = ["http"]`, usually 80: what is in TLS cannot be redirected"#
        }
        false => r#"add `handlers = ["http"]`: only HTTP can be redirected"#,
    };
    let message = "`force_https` on a port without the `http` handler";
    let mut diagnostic = Diagnostic::new(span, message).help(help);
    if let Some(span) = port.key_span("handlers") {
        diagnostic = diagnostic.related(span, "the handlers of this port");
    }
    port.report().push(diagnostic);
    false
}
