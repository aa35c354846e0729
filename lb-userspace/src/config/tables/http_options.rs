//! `http_options`: HTTP to backends, and headers of responses.

use std::{sync::Arc, time::Duration};

use hyper::header::{HeaderName, HeaderValue};

use crate::service::{Handler, HttpOptions};

use crate::config::text::{
    diagnostic::Diagnostic,
    reader::{At, Value},
    scalar::duration,
    section::Section,
};

/// In seconds.
const YEAR: u64 = 365 * 24 * 3600;

type Header = (Arc<str>, Vec<Arc<str>>);

/// Returns the options, and the port's `idle_timeout` if it is written here, where Fly has it.
pub(crate) fn http_options(value: Value<'_>) -> Option<(HttpOptions, Option<At<Duration>>)> {
    value.section(|options| {
        let h2_backend = options.optional("h2_backend", Value::boolean);
        let idle_timeout = options.optional("idle_timeout", |it| Some(it.at(seconds(it)?)));
        let response = options.optional("response", response);
        let (pristine, headers) = response.unwrap_or_default();
        let options = HttpOptions {
            h2_backend: h2_backend.unwrap_or(false),
            pristine,
            response_headers: headers,
        };
        Some((options, idle_timeout))
    })
}

/// Reads a duration, or a whole number of seconds.
fn seconds(value: Value<'_>) -> Option<Duration> {
    match value.is_number() {
        true => value.number(1..=YEAR).map(Duration::from_secs),
        false => duration(value),
    }
}

fn response(value: Value<'_>) -> Option<(bool, Vec<Header>)> {
    value.section(|response| {
        let pristine = response.optional("pristine", Value::boolean);
        let headers = response.optional("headers", |it| it.entries(header));
        Some((pristine.unwrap_or(false), headers.unwrap_or_default()))
    })
}

/// Reads `false`, one value, or several.
fn header(name: &At<&str>, value: Value<'_>) -> Option<Header> {
    let help = "write the header's value, a list of values, or false to remove it";
    let values = if value.is_list() {
        value.non_empty_list(help, header_value)?.into_values()
    } else if value.is_boolean() {
        if value.boolean()? {
            return value.refuse(format!("header `{}` cannot be true", name.value), help);
        }
        Vec::new()
    } else {
        vec![header_value(value)?]
    };
    let Ok(parsed) = HeaderName::from_bytes(name.value.as_bytes()) else {
        let message = format!("`{}` is not the name of a header", name.value);
        let help = "header names are letters, digits and `-`";
        value.report().push(Diagnostic::new(name.span.clone(), message).help(help));
        return None;
    };
    if is_framing(parsed.as_str()) {
        let message = format!("`{}` says how a message is sent", name.value);
        let help = "remove it; it follows from the connection and the body";
        value.report().push(Diagnostic::new(name.span.clone(), message).help(help));
        return None;
    }
    Some((parsed.as_str().into(), values))
}

fn is_framing(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "transfer-encoding"
            | "upgrade"
            | "trailer"
            | "keep-alive"
    )
}

fn header_value(value: Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    if HeaderValue::from_str(text).is_err() {
        let message = format!("the value of header `{}` has a control character", value.key());
        return value.refuse(message, "headers are one line of visible characters");
    }
    Some(text.into())
}

pub(crate) fn check_http_options(port: &Section<'_>, handlers: &[Handler]) -> bool {
    let Some(span) = port.key_span("http_options") else {
        return true;
    };
    if handlers.contains(&Handler::Http) {
        return true;
    }
    let help = r#"add "http" to `handlers`, or remove `http_options`"#;
    let message = "`http_options` on a port without the `http` handler";
    port.report().push(Diagnostic::new(span, message).help(help));
    false
}
