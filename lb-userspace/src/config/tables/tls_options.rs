//! `tls_options`: how a port terminates TLS.

use std::{path::Path, sync::Arc};

use super::proxy::file;
use crate::config::text::{
    diagnostic::Diagnostic,
    named_file::NamedFile,
    reader::{At, Report, Value, one_of},
    section::Section,
};
use crate::service::{ClientAuth, Handler, TlsOptions, TlsVersion};

#[derive(Default)]
pub(crate) struct TlsDraft {
    alpn: Option<Vec<At<Arc<str>>>>,
    versions: Option<Vec<TlsVersion>>,
    default_self_signed: bool,
    client_auth: Option<ClientAuth>,
    forward_client_cert: Option<At<bool>>,
}

impl TlsDraft {
    pub(crate) fn build(self, handlers: &[Handler]) -> TlsOptions {
        let default = if handlers.contains(&Handler::PgTls) { PG_ALPN } else { HTTP_ALPN };
        let is_raw = !handlers.contains(&Handler::Http) && !handlers.contains(&Handler::PgTls);
        let alpn_by_servers = is_raw && self.alpn.is_none();
        let alpn = self.alpn.map(|names| names.into_iter().map(|name| name.value).collect());
        TlsOptions {
            alpn_by_servers,
            alpn: alpn.unwrap_or_else(|| default.iter().map(|&name| name.into()).collect()),
            versions: self.versions.unwrap_or_else(|| vec![TlsVersion::V1_2, TlsVersion::V1_3]),
            default_self_signed: self.default_self_signed,
            client_auth: self.client_auth,
            forward_client_cert: self.forward_client_cert.is_some_and(|it| it.value),
        }
    }
}

const HTTP_ALPN: &[&str] = &["h2", "http/1.1"];
/// <https://www.postgresql.org/docs/18/protocol-flow.html>.
const PG_ALPN: &[&str] = &["postgresql"];

/// Returns whether the port terminates TLS.
pub(crate) fn is_tls(handlers: &[Handler]) -> bool {
    handlers.contains(&Handler::Tls) || handlers.contains(&Handler::PgTls)
}

pub(crate) fn tls_options(value: Value<'_>, directory: &Path) -> Option<TlsDraft> {
    value.section(|tls| {
        let alpn = tls.optional("alpn", |it| {
            let names = it.list(alpn_name)?.items;
            it.report().refuse_repeats("protocol", &names);
            Some(names)
        });
        let versions = tls.optional("versions", |it| {
            let help = "leave it out for both TLSv1.2 and TLSv1.3";
            Some(it.non_empty_list(help, tls_version)?.into_values())
        });
        let self_signed = tls.optional("default_self_signed", Value::boolean);
        let client_auth = client_auth(tls, directory);
        let forward_client_cert =
            tls.optional("forward_client_cert", |it| Some(it.at(it.boolean()?)));
        if let Some(forward) = forward_client_cert.as_ref().filter(|it| it.value)
            && !tls.has("client_ca")
        {
            let message =
                "`forward_client_cert` without `client_ca`: clients are asked for no certificate";
            let help = "add `client_ca` with the authorities that issue clients' certificates";
            tls.report().push(Diagnostic::new(forward.span.clone(), message).help(help));
        }
        Some(TlsDraft {
            alpn,
            versions,
            default_self_signed: self_signed.unwrap_or(false),
            client_auth,
            forward_client_cert,
        })
    })
}

fn client_auth(tls: &mut Section<'_>, directory: &Path) -> Option<ClientAuth> {
    let ca = tls.optional("client_ca", |it| {
        let path = file(it, directory)?;
        it.report().name(it.at(NamedFile::ClientCa(path.clone())));
        Some(path)
    });
    let modes = [("require", true), ("optional", false)];
    let is_required = tls.optional("client_auth", |it| it.choice(&modes, &[]));
    if let Some(span) = tls.key_span("client_auth")
        && !tls.has("client_ca")
    {
        let message = "`client_auth` without `client_ca`: no certificate could be verified";
        let help = "add `client_ca` with the authorities that issue clients' certificates";
        tls.report().push(Diagnostic::new(span, message).help(help));
    }
    Some(ClientAuth { ca: ca?, is_required: is_required.unwrap_or(true) })
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

pub(crate) fn check_tls_options(port: &Section<'_>, handlers: &[Handler]) -> bool {
    let Some(span) = port.key_span("tls_options") else {
        return true;
    };
    if is_tls(handlers) {
        return true;
    }
    let help = r#"add "tls" or "pg_tls" to `handlers`, or remove `tls_options`"#;
    let message = "`tls_options` on a port without the `tls` or `pg_tls` handler";
    port.report().push(Diagnostic::new(span, message).help(help));
    false
}

/// Checks the options against the handlers.
pub(crate) fn check_tls(report: &Report, handlers: &[Handler], tls: Option<&TlsDraft>) -> bool {
    let Some(tls) = tls else { return true };
    check_alpn(report, handlers, tls) & check_forward_client_cert(report, handlers, tls)
}

/// If lb speaks the protocol itself, it must be one that lb supports.
fn check_alpn(report: &Report, handlers: &[Handler], tls: &TlsDraft) -> bool {
    let names = tls.alpn.as_deref().unwrap_or_default();
    let (handler, spoken) = match handlers {
        [.., Handler::Http] => (Handler::Http.name(), HTTP_ALPN),
        [Handler::PgTls, ..] => (Handler::PgTls.name(), PG_ALPN),
        _ => return true,
    };
    let foreign = names.iter().find(|name| !spoken.contains(&&*name.value));
    let Some(name) = foreign else { return true };
    let message = format!("the `{handler}` handler does not speak `{}`", name.value);
    let help = format!("use {}, or remove the `{handler}` handler", one_of(spoken));
    report.push(Diagnostic::new(name.span.clone(), message).help(help));
    false
}

fn check_forward_client_cert(report: &Report, handlers: &[Handler], tls: &TlsDraft) -> bool {
    let forward = tls.forward_client_cert.as_ref().filter(|it| it.value);
    let Some(forward) = forward.filter(|_| !handlers.contains(&Handler::Http)) else {
        return true;
    };
    let message = "`forward_client_cert` on a port without the `http` handler";
    let help =
        r#"it is sent in a header; `proxy_proto` with `version = "v2"` sends the common name"#;
    report.push(Diagnostic::new(forward.span.clone(), message).help(help));
    false
}
